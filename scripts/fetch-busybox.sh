#!/usr/bin/env bash
# Debian's static busybox for a guest, unpacked in the cache, not installed: the guest's architecture need not be this machine's.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib/environment.sh"
. "$PROJECT/scripts/lib/debian-packages.sh"

usage() {
    cat <<USAGE
usage: scripts/fetch-busybox.sh <x86_64|aarch64>

Prints the path of a static busybox for that architecture on standard output.
USAGE
}

main() {
    local word words=() arch busybox
    for word in "$@"; do
        case $word in
        -h | --help) usage; exit 0 ;;
        -*) die 2 "unknown argument '$word'; see --help" ;;
        *) words+=("$word") ;;
        esac
    done
    [ ${#words[@]} = 1 ] || die 2 "one architecture is needed: x86_64 or aarch64"
    arch=$(debian_arch "${words[0]}") || exit

    busybox=$CACHE/busybox/$BUSYBOX_SUITE-${words[0]}/busybox
    program_from_deb "$BUSYBOX_SUITE" "$arch" busybox-static ./usr/bin/busybox "$busybox"
    echo "$busybox"
}

main "$@"
