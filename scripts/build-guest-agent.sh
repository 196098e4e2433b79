#!/usr/bin/env bash
# The one way to the shipped agent; see usage below. How is in lib/static-build.sh.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib/environment.sh"
. "$PROJECT/scripts/lib/static-build.sh"

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
    local arch=$1

    prepare_static_build "$arch"
    build_static smolvm-guest-agent "$arch"
    AGENT=$BINARY
    require_static "$AGENT" "$arch"
    record_std
    say "$(stat -c %s "$AGENT") bytes"
    printf '%s\n' "$AGENT"
}

record_std() {
    [ "$(cat "$AGENT.std" 2>/dev/null)" != "$STD_KIND" ] || return 0
    printf '%s\n' "$STD_KIND" >"$AGENT.std.$$"
    mv -f "$AGENT.std.$$" "$AGENT.std"
}

main "$@"
