#!/usr/bin/env bash
# The one way to the shipped agent; see usage below. Fetches what is missing (zig.sh, musl-std.sh), builds
# (isolated-cargo.sh) and looks at the result (static-binary.sh).

. "$(dirname -- "${BASH_SOURCE[0]}")/lib/environment.sh"
. "$PROJECT/scripts/lib/zig.sh"
. "$PROJECT/scripts/lib/musl-std.sh"
. "$PROJECT/scripts/lib/isolated-cargo.sh"
. "$PROJECT/scripts/lib/static-binary.sh"

usage() {
    cat <<'USAGE'
Usage: scripts/build-guest-agent.sh x86_64|aarch64

Builds the guest agent, static and for musl, and prints the absolute path of the binary on standard output.
Beside it, FILE.std says `rebuilt` or `prebuilt`: which std it is linked with.

Environment:
  SMOLVM_STD        rebuilt: std is built small, from its sources; prebuilt: as it is installed for the target;
                    auto (default): rebuilt where sources of the compiler's own release can be had
  SMOLVM_CACHE_DIR  where downloads and tools are kept, instead of ~/.cache/smolvm

Exit codes: 1 the build failed; 2 a wrong call or a missing tool.
USAGE
}

main() {
    case ${1:-} in -h | --help) usage; return ;; esac
    [ $# = 1 ] || die 2 "one architecture is needed, x86_64 or aarch64; see --help"
    local arch=$1 wish=${SMOLVM_STD:-auto}
    case $arch in x86_64 | aarch64) ;; *) die 2 "unknown architecture '$arch'; it is x86_64 or aarch64" ;; esac
    case $wish in rebuilt | prebuilt | auto) ;; *) die 2 "SMOLVM_STD is '$wish'; it is rebuilt, prebuilt or auto" ;; esac

    require_tools
    choose_std "$arch-unknown-linux-musl" "$wish"
    say "std: $STD_KIND (rustc $RUSTC_RELEASE)"
    install_zigbuild
    build_agent "$arch"
    require_static "$AGENT" "$arch"
    record_std
    say "$(stat -c %s "$AGENT") bytes"
    printf '%s\n' "$AGENT"
}

require_tools() {
    have rustc cargo || die 2 "a Rust toolchain is needed, and rustc and cargo are not on the PATH; install one (rustup, or your distribution's)"
    # The tools themselves, where rustup puts a chooser before them: it would have to be asked at each of hundreds of calls.
    local chosen
    chosen=$(rustc --print sysroot) || die 2 "'rustc --print sysroot' failed; is a toolchain chosen ('rustup default stable')?"
    export RUSTC=$chosen/bin/rustc CARGO=$chosen/bin/cargo
    have "$RUSTC" "$CARGO" || { RUSTC=$(command -v rustc) CARGO=$(command -v cargo); }
    have flock || die 2 "flock is needed; install util-linux"
    # Build scripts of crates are linked for this machine.
    have cc readelf || install_packages gcc libc6-dev binutils
}

record_std() {
    [ "$(cat "$AGENT.std" 2>/dev/null)" != "$STD_KIND" ] || return 0
    printf '%s\n' "$STD_KIND" >"$AGENT.std.$$"
    mv -f "$AGENT.std.$$" "$AGENT.std"
}

main "$@"
