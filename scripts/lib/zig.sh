# shellcheck shell=bash
# Sourced after environment.sh. Owns the linker: zig (which brings musl and libunwind for both targets)
# and cargo-zigbuild, from hash-pinned wheels, in one folder of the cache that appears whole or not at all.
#
# install_zigbuild   sets ZIGBUILD_HOME; bin/cargo-zigbuild and ziglang/zig are in it. No python runs after that.

install_zigbuild() {
    ZIGBUILD_HOME=$CACHE/zigbuild-$ZIGLANG_VERSION-$CARGO_ZIGBUILD_VERSION
    [ ! -d "$ZIGBUILD_HOME" ] || return 0
    (
        flock 9
        [ ! -d "$ZIGBUILD_HOME" ] || exit 0
        say "installing zig $ZIGLANG_VERSION and cargo-zigbuild $CARGO_ZIGBUILD_VERSION into the cache (90 MB, once)"
        new=$(mktemp -d "$ZIGBUILD_HOME.new-XXXXXX")
        # shellcheck disable=SC2064 # the folder as it is now
        trap "rm -rf '$new'" EXIT
        zigbuild_requirements >"$new/requirements.txt"
        python=$(python_with_pip) || exit
        # What a user's pip.conf may say about users and virtual environments is of no concern here, and neither is that root
        # installs, into a folder of its own; its mirrors are.
        PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --no-deps --only-binary :all: \
            --disable-pip-version-check --require-hashes -r "$new/requirements.txt" --target "$new/tools" >&2 ||
            die 1 "pip could not install ziglang==$ZIGLANG_VERSION and cargo-zigbuild==$CARGO_ZIGBUILD_VERSION; see its messages above"
        [ -x "$new/tools/ziglang/zig" ] && [ -x "$new/tools/bin/cargo-zigbuild" ] ||
            die 1 "the wheels of ziglang and cargo-zigbuild do not hold what they should (ziglang/zig, bin/cargo-zigbuild)"
        mv -T "$new/tools" "$ZIGBUILD_HOME"
    ) 9>"$CACHE/zigbuild.lock" || exit
}

zigbuild_requirements() {
    local hashes
    case $(uname -m) in
    x86_64) hashes="$ZIGLANG_SHA256_X86_64 $CARGO_ZIGBUILD_SHA256_X86_64" ;;
    aarch64) hashes="$ZIGLANG_SHA256_AARCH64 $CARGO_ZIGBUILD_SHA256_AARCH64" ;;
    *) die 2 "the pinned build tools exist for x86_64 and aarch64 machines, and this is $(uname -m); build the agent on one of those" ;;
    esac
    printf 'ziglang==%s --hash=sha256:%s\n' "$ZIGLANG_VERSION" "${hashes% *}"
    printf 'cargo-zigbuild==%s --hash=sha256:%s\n' "$CARGO_ZIGBUILD_VERSION" "${hashes#* }"
}

# python_with_pip: the python of the PATH where it has pip, else Debian's.
python_with_pip() {
    local python
    for python in python3 /usr/bin/python3; do
        if "$python" -m pip --version >/dev/null 2>&1; then
            # The interpreter itself: a chooser before it (pyenv) would go over its own folders after each install.
            "$python" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    install_packages python3 python3-pip
    echo /usr/bin/python3
}
