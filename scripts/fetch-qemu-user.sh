#!/usr/bin/env bash
# A qemu-aarch64-static, with which tests run aarch64 programs on another machine. Unpacked in the cache, not installed:
# the installed package would register itself with the kernel (binfmt_misc) for every program of the system.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib/environment.sh"
. "$PROJECT/scripts/lib/debian-packages.sh"

usage() {
    cat <<USAGE
usage: scripts/fetch-qemu-user.sh

Prints the path of qemu-aarch64-static on standard output: the PATH's, else one from Debian in the cache.
USAGE
}

main() {
    local emulator=$CACHE/qemu-user/$QEMU_USER_SUITE/qemu-aarch64-static
    case ${1:-} in
    '') ;;
    -h | --help) usage; exit 0 ;;
    *) die 2 "unknown argument '$1'; there are none but --help" ;;
    esac
    if have qemu-aarch64-static; then
        command -v qemu-aarch64-static
        return
    fi
    if [ ! -x "$emulator" ]; then
        have dpkg || die 2 "qemu-aarch64-static is needed; install it (Debian's package is qemu-user-static)"
        program_from_deb "$QEMU_USER_SUITE" "$(dpkg --print-architecture)" qemu-user ./usr/bin/qemu-aarch64 "$emulator"
    fi
    echo "$emulator"
}

main "$@"
