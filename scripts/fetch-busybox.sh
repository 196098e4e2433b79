#!/usr/bin/env bash
# Debian's static busybox for a guest, unpacked in the cache, not installed: the guest's architecture need not be this machine's.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib/environment.sh"
. "$PROJECT/scripts/lib/arguments.sh"
. "$PROJECT/scripts/lib/debian-packages.sh"

usage() {
    cat <<USAGE
usage: scripts/fetch-busybox.sh <x86_64|aarch64>

Prints the path of a static busybox for that architecture on standard output.
USAGE
}

main() {
    local arch busybox
    take_words "$@"
    [ ${#WORDS[@]} = 1 ] || die 2 "one architecture is needed: x86_64 or aarch64"
    arch=$(debian_arch "${WORDS[0]}") || exit

    busybox=$CACHE/busybox/$BUSYBOX_SUITE-${WORDS[0]}/busybox
    program_from_deb "$BUSYBOX_SUITE" "$arch" busybox-static ./usr/bin/busybox "$busybox"
    echo "$busybox"
}

main "$@"
