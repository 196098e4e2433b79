#!/usr/bin/env bash
# End to end over real virtio-vsock; see usage below.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib/environment.sh"
. "$PROJECT/scripts/lib/static-build.sh"
. "$PROJECT/scripts/lib/guest-image.sh"

usage() {
    cat <<'USAGE'
Usage: scripts/e2e.sh x86_64|aarch64 6.1|6.12 [--only WORDS-OF-A-CASE]

Builds the image of an architecture with Debian's kernel of that line, boots it in QEMU, and runs every case of
tests/e2e against its agent over virtio-vsock; then has the published host, unchanged, drive the same VM.
USAGE
}

main() {
    case ${1-} in -h | --help) usage; return ;; esac
    [ $# -ge 2 ] || die 2 "an architecture and a kernel are needed, such as 'x86_64 6.12'; see --help"
    local arch=$1 kernel=$2 idle growth pss target qemu status=0
    shift 2
    case $arch in x86_64 | aarch64) ;; *) die 2 "unknown architecture '$arch'; it is x86_64 or aarch64" ;; esac
    case $kernel in 6.1 | 6.12) ;; *) die 2 "unknown kernel '$kernel'; it is 6.1 or 6.12" ;; esac
    "$PROJECT/scripts/vm-tools.sh" --arch "$arch" >/dev/null
    build_smolctl
    build_image "$arch" "$kernel"
    build_harness "$arch"

    VM=e2e-$arch-${kernel//./-}-$$
    trap end EXIT
    trap 'exit 130' INT TERM
    STARTED=yes
    "$SMOLCTL" vm start --image "$IMAGE" --name "$VM" --memory 384 >&2
    read -r qemu target < <("$SMOLCTL" vm list --json | python3 -c '
import json, sys
print(*next((vm["pid"], vm["target"]) for vm in json.load(sys.stdin) if vm["name"] == sys.argv[1]))' "$VM")
    read -r idle growth pss < <("$PROJECT/scripts/check-promises" --limits "$arch" "$GUEST_STD" idle_kib growth_kib pss_kib)
    say "cases on $arch, kernel $kernel, $target, std $GUEST_STD"
    "$HARNESS" drive "$target" --guest-program "$GUEST_PROGRAM" --max-idle-kib "$idle" --max-growth-kib "$growth" \
        --max-pss-kib "$pss" "$@" || status=$?
    case $target in
    uds:*) "$PROJECT/scripts/conformance.sh" "vm:${target#uds:}" || status=$? ;;
    *) echo "skipped, because the published host reaches $target by CID only as root of a real host: its cases" ;;
    esac
    "$HARNESS" shutdown "$target" "$qemu" || status=$?
    if [ "$status" != 0 ] && [[ $target = uds:* ]]; then
        say "the guest's console:"
        tail -n 30 "$(dirname "${target#uds:}")/console.log" >&2 || true
    fi
    if ! "$SMOLCTL" vm stop "$VM" >&2; then
        say "the VM did not stop"
        status=1
    fi
    STARTED=
    return "$status"
}

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

end() {
    [ -z "${STARTED-}" ] || "$SMOLCTL" vm stop "$VM" >&2 || true
}

main "$@"
