# shellcheck shell=bash
# Sourced after environment.sh by who needs the published package: its agent and its host, read out of the wheel.

# published_wheel PYTHON: downloads the wheel once by that Python's pip, its hash checked; tells its path.
published_wheel() {
    local folder=$CACHE/published wheel
    wheel=$folder/smolvm-$PUBLISHED_SMOLVM_VERSION-py3-none-any.whl
    (
        flock 9
        if ! printf '%s  %s\n' "$PUBLISHED_SMOLVM_SHA256" "$wheel" | sha256sum --quiet --check >/dev/null 2>&1; then
            say "downloading the published agent and host, smolvm $PUBLISHED_SMOLVM_VERSION"
            mkdir -p "$folder"
            printf 'smolvm==%s --hash=sha256:%s\n' "$PUBLISHED_SMOLVM_VERSION" "$PUBLISHED_SMOLVM_SHA256" >"$folder/requirements.txt"
            "$1" -m pip --quiet --disable-pip-version-check download --no-deps --require-hashes --only-binary :all: \
                --dest "$folder" -r "$folder/requirements.txt" >&2
        fi
    ) 9>"$CACHE/published.lock" || die 1 "could not download smolvm $PUBLISHED_SMOLVM_VERSION; see pip's messages above"
    printf '%s\n' "$wheel"
}
