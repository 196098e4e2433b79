# shellcheck shell=bash
# Sourced by the scripts that run Python tests: virtual environments with pinned packages, in the cache.

# python_environment NAME REQUIREMENTS…: makes the virtual environment once for each Python and each set of pins; tells its folder.
python_environment() {
    local name=$1 version folder requirements=() file
    shift
    version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2] if sys.version_info >= (3, 11) else "")') ||
        die 2 "python3 does not run; install Python 3.11 or later"
    [ -n "$version" ] || die 2 "python3 is older than 3.11, which the tests need; install a later one"
    folder=$CACHE/$name-py$version-$(cat "$@" | sha256sum | cut -c1-12)
    for file in "$@"; do
        requirements+=(-r "$file")
    done
    (
        flock 9
        [ ! -e "$folder/complete" ] || exit 0
        say "installing what the tests of $name need"
        rm -rf "$folder"
        if ! python3 -c 'import ensurepip' 2>/dev/null; then
            install_packages python3-venv || exit 1
        fi
        # Each by hand: within a list, as here, bash does not end at the first that fails.
        python3 -m venv "$folder" >&2 || exit 1
        "$folder/bin/pip" --quiet --disable-pip-version-check install --no-deps --require-hashes --only-binary :all: "${requirements[@]}" >&2 || exit 1
        touch "$folder/complete"
    ) 9>"$CACHE/$name.lock" || die 1 "could not install what the tests of $name need; see pip's messages above"
    printf '%s\n' "$folder"
}
