# shellcheck shell=bash
# Sourced after environment.sh. Owns the tools for cargo that are built from crates.io, once, into the cache.
#
# provide_cargo_tool NAME VERSION   sets TOOL_FOLDER, where bin/NAME is of that version: the one on the PATH where it is, else ours

provide_cargo_tool() {
    local name=$1 version=$2
    TOOL_FOLDER=$CACHE/$name-$version
    if [ ! -x "$TOOL_FOLDER/bin/$name" ] && [ "$(tool_version "$name")" = "$version" ]; then
        TOOL_FOLDER=$(dirname -- "$(dirname -- "$(command -v "$name")")")
        return
    fi
    [ -x "$TOOL_FOLDER/bin/$name" ] || (
        flock 9
        [ -x "$TOOL_FOLDER/bin/$name" ] || build_cargo_tool "$name" "$version"
    ) 9>"$CACHE/$name.lock" || exit
}

# Some answer as the subcommand that they are, alone.
tool_version() {
    have "$1" || return 0
    { "$1" --version || "$1" "${1#cargo-}" --version || true; } 2>/dev/null | sed -n 's/.* //p'
}

build_cargo_tool() {
    local name=$1 version=$2 work
    say "building $name $version, which takes minutes (once)"
    work=$(mktemp -d "$TOOL_FOLDER.new-XXXXXX") || exit
    # shellcheck disable=SC2064 # the folder as it is now
    trap "rm -rf '$work'" EXIT
    # From the root folder, so that no toolchain file or cargo configuration of a checkout has a say.
    (cd / && env -u CARGO_TARGET_DIR -u RUSTFLAGS CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
        cargo install --quiet --locked --root "$work/tools" --target-dir "$work/target" "$name@$version" >&2) ||
        die 1 "cargo could not build $name $version; see its messages above"
    rm -rf "$TOOL_FOLDER"
    mv -T "$work/tools" "$TOOL_FOLDER"
}
