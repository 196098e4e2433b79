#!/usr/bin/env bash
# Unit tests in the shipped build; see usage below.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib/environment.sh"
. "$PROJECT/scripts/lib/static-build.sh"

usage() {
    cat <<'USAGE'
Usage: scripts/test-shipped-units.sh x86_64|aarch64

Runs the unit tests of the guest agent and of the protocol as the agent is shipped: static, musl, the same std, the same
profile. Among them is that a panic in one connection unwinds and costs that connection alone.
USAGE
}

main() {
    case ${1:-} in -h | --help) usage; return ;; esac
    [ $# = 1 ] || die 2 "one architecture is needed, x86_64 or aarch64; see --help"
    prepare_static_build "$1"
    if [ "$1" != "$(uname -m)" ]; then
        [ "$1" = aarch64 ] || die 2 "this machine cannot run tests for $1"
        CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER=$("$PROJECT/scripts/fetch-qemu-user.sh" | tail -n 1) || exit
        export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUNNER
    fi
    test_static "$1" smolvm-guest-agent smolvm-protocol
}

main "$@"
