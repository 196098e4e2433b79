#!/usr/bin/env bash
# End to end over real AF_VSOCK; see usage below.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib/environment.sh"
. "$PROJECT/scripts/lib/static-build.sh"
. "$PROJECT/scripts/lib/guest-image.sh"

usage() {
    cat <<'USAGE'
Usage: scripts/e2e.sh [--straight | --within | --ssh] [--large] x86_64|aarch64 6.1|6.12 [--only WORDS-OF-A-CASE]

Builds the image of an architecture with Debian's kernel of that line, boots it in QEMU, and runs every case of
tests/e2e against its agent over virtio-vsock, by vhost-device-vsock and a CONNECT socket; then has the published host,
unchanged, drive the same VM.

  --straight   by CID and this machine's /dev/vhost-vsock instead; skipped where that is not usable
  --within     a client within the guest instead, over vsock_loopback, AF_VSOCK on both sides
  --ssh        the ssh image instead, whose root is a disk: logins by ssh besides, and the disk's state in the end
  --large      a file of 256 MiB there and back as well, in a VM with memory for it
USAGE
}

main() {
    local way=vhost-user variant=minimal large='' memory=384
    while [ $# -gt 0 ]; do
        case $1 in
        -h | --help) usage; return ;;
        --straight) way=kernel ;;
        --within) way=within ;;
        --ssh) way=ssh variant=ssh ;;
        --large) large=yes memory=768 ;;
        -*) die 2 "unknown option '$1'; see --help" ;;
        *) break ;;
        esac
        shift
    done
    [ $# -ge 2 ] || die 2 "an architecture and a kernel are needed, such as 'x86_64 6.12'; see --help"
    local arch=$1 kernel=$2
    shift 2
    case $arch in x86_64 | aarch64) ;; *) die 2 "unknown architecture '$arch'; it is x86_64 or aarch64" ;; esac
    case $kernel in 6.1 | 6.12) ;; *) die 2 "unknown kernel '$kernel'; it is 6.1 or 6.12" ;; esac
    [ "$large$way" != yeswithin ] || die 2 "--large is the host's, and --within has none; give one of them"
    if [ "$way" = kernel ] && ! device_is_usable; then
        echo "skipped, because this machine has no usable /dev/vhost-vsock"
        echo "0 passed, 0 failed, 1 skipped"
        return
    fi
    "$PROJECT/scripts/vm-tools.sh" --arch "$arch" >/dev/null
    build_smolctl
    build_image "$arch" "$kernel" "$variant"
    build_harness "$arch"
    case $way in
    kernel) boot "$arch" "$kernel" "$memory" --vsock kernel ;;
    ssh) prepare_login && boot "$arch" "$kernel" "$memory" --vsock vhost-user --forward "$PORT:22" --ssh-key "$KEY.pub" ;;
    *) boot "$arch" "$kernel" "$memory" --vsock vhost-user ;;
    esac
    say "cases on $arch, kernel $kernel, $TARGET, std $GUEST_STD"
    local status=0
    case $way in
    within) run_within "$@" || status=$? ;;
    ssh) run_by_ssh "$arch" "$@" || status=$? ;;
    *) run_from_the_host "$arch" "$large" "$@" || status=$? ;;
    esac
    finish "$status"
}

# Whether this user may open the device; opening it alone touches no VM.
device_is_usable() { [ -c /dev/vhost-vsock ] && (exec 3<>/dev/vhost-vsock) 2>/dev/null; }

# build_harness ARCH: sets HARNESS, which this machine runs, and GUEST_PROGRAM, the same for the guest, with GUEST_STD.
build_harness() {
    local machine
    machine=$(uname -m)
    prepare_static_build "$1"
    build_static smolvm-e2e "$1"
    GUEST_PROGRAM=$BINARY GUEST_STD=$STD_KIND
    if [ "$1" != "$machine" ]; then
        prepare_static_build "$machine"
        build_static smolvm-e2e "$machine"
    fi
    HARNESS=$BINARY
}

# boot ARCH KERNEL MIB OPTIONS…: starts the VM; sets VM, QEMU_PID and TARGET.
boot() {
    VM=e2e-$1-${2//./-}-$$
    trap end EXIT
    trap 'exit 130' INT TERM
    STARTED=yes
    "$SMOLCTL" vm start --image "$IMAGE" --name "$VM" --memory "$3" "${@:4}" >&2
    read -r QEMU_PID TARGET < <("$SMOLCTL" vm list --json | python3 -c '
import json, sys
print(*next((vm["pid"], vm["target"]) for vm in json.load(sys.stdin) if vm["name"] == sys.argv[1]))' "$VM")
}

# run_from_the_host ARCH LARGE WORDS…: the cases of a host, the last of which ends the guest.
run_from_the_host() {
    local arch=$1 large=$2 idle growth pss status=0
    shift 2
    read -r idle growth pss < <("$PROJECT/scripts/check-promises" --limits "$arch" "$GUEST_STD" idle_kib growth_kib pss_kib)
    "$HARNESS" drive "$TARGET" --guest-program "$GUEST_PROGRAM" --max-idle-kib "$idle" --max-growth-kib "$growth" \
        --max-pss-kib "$pss" ${large:+--large} "$@" || status=$?
    case $TARGET in
    uds:*) SMOLVM_SMOLCTL=$SMOLCTL "$PROJECT/scripts/conformance.sh" "vm:${TARGET#uds:}" || status=$? ;;
    *) echo "skipped, because hosts in Python reach $TARGET by CID only as root of a real host: their cases" ;;
    esac
    "$HARNESS" shutdown "$TARGET" "$QEMU_PID" || status=$?
    return "$status"
}

# prepare_login: sets FOLDER, KEY and PORT, a port of 127.0.0.1 that is free now.
prepare_login() {
    have ssh ssh-keygen sftp || install_packages openssh-client
    FOLDER=$(mktemp -d)
    trap end EXIT
    KEY=$FOLDER/key
    ssh-keygen -q -t ed25519 -N '' -C e2e -f "$KEY"
    PORT=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
}

# run_by_ssh ARCH WORDS…: logins, then all that a host does, and what that leaves of the disk.
run_by_ssh() {
    local arch=$1 disk status=0
    disk=$(dirname "${TARGET#uds:}")/root.ext4
    "$HARNESS" ssh "$TARGET" --port "$PORT" --key "$KEY" --folder "$FOLDER" || status=$?
    run_from_the_host "$arch" '' "${@:2}" || status=$?
    if PATH=$PATH:/usr/sbin e2fsck -fn "$disk" >"$FOLDER/told" 2>&1 && ! grep -q 'recover' "$FOLDER/told"; then
        echo "passed  orderly_end_leaves_the_disk_clean"
        echo "1 passed, 0 failed, 0 skipped"
    else
        echo "FAILED  orderly_end_leaves_the_disk_clean:"
        cat "$FOLDER/told"
        echo "0 passed, 1 failed, 0 skipped"
        status=1
    fi
    return "$status"
}

# run_within WORDS…: the cases of a client within the guest, whose agent runs them as it would any command.
run_within() {
    "$SMOLCTL" put "$VM" "$GUEST_PROGRAM" /tmp/smolvm-e2e --mode 755
    "$SMOLCTL" run "$VM" --shell raw --timeout 300 -c "exec /tmp/smolvm-e2e within ${*@Q}"
}

# finish STATUS: ends what is left of the VM, and returns that status, or 1 where the VM does not end.
finish() {
    local status=$1
    if [ "$status" != 0 ] && [[ $TARGET = uds:* ]]; then
        say "the guest's console:"
        tail -n 30 "$(dirname "${TARGET#uds:}")/console.log" >&2 || true
    fi
    if ! "$SMOLCTL" vm rm --force "$VM" >&2; then
        say "the VM did not stop"
        status=1
    fi
    STARTED=
    return "$status"
}

end() {
    [ -z "${STARTED-}" ] || "$SMOLCTL" vm rm --force "$VM" >&2 || true
    [ -z "${FOLDER-}" ] || rm -rf "$FOLDER"
}

main "$@"
