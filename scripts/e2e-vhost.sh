#!/usr/bin/env bash
# End to end over the kernel's vhost-vsock on machines without /dev/vhost-vsock; see usage below.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib/environment.sh"
. "$PROJECT/scripts/lib/static-build.sh"
. "$PROJECT/scripts/lib/guest-image.sh"

usage() {
    cat <<'USAGE'
Usage: scripts/e2e-vhost.sh

Boots our x86_64 image in an emulated VM (the outer one), puts QEMU, the kernel's vhost_vsock and our static host side into
it, and has them boot the same image in there (the inner one, vhost-vsock-pci). The cases of tests/e2e then reach the inner
agent by CID, and save and restore its VM. That QEMU refuses to save one with the device of vhost-device-vsock is asked first,
without a guest. Takes six to fifteen minutes on two cores.
USAGE
}

KERNEL=6.12
# The unpacked programs and the inner VM's saved memory, twice, lie in the outer one's.
OUTER_MIB=2048
LIMIT_SECONDS=1300

main() {
    case ${1-} in
    '') ;;
    -h | --help) usage; return ;;
    -*) die 2 "unknown option '$1'; see --help" ;;
    esac
    [ "$(uname -m)" = x86_64 ] || die 2 "this row runs on an x86_64 machine, whose QEMU the outer VM takes along"
    local device
    device=$("$PROJECT/scripts/vm-tools.sh" --arch x86_64 | value_of vhost-device-vsock)
    have xz zstd || install_packages xz-utils zstd
    build_smolctl
    build_image x86_64 "$KERNEL"
    prepare_static_build x86_64
    FOLDER=$(mktemp -d)
    VM=outer-$$
    trap end EXIT
    trap 'exit 130' INT TERM
    local status=0 idle growth pss
    check_vhost_user_is_not_saved "$device" || status=1
    gather
    STARTED=yes
    # Without mitigations, which cost a kernel that is emulated and protect nobody in it.
    "$SMOLCTL" vm start --image "$IMAGE" --name "$VM" --memory "$OUTER_MIB" --cpus 2 --vsock vhost-user \
        --kernel-append mitigations=off >&2
    "$SMOLCTL" put "$VM" "$FOLDER/nested.tar" /nested.tar
    "$SMOLCTL" run "$VM" --shell raw -c 'tar -xf /nested.tar -C / && rm /nested.tar'
    say "the inner VM boots"
    read -r idle growth pss < <("$PROJECT/scripts/check-promises" --limits x86_64 "$STD_KIND" idle_kib growth_kib pss_kib)
    "$SMOLCTL" run "$VM" --shell raw --timeout "$LIMIT_SECONDS" \
        -c "exec sh /nested/inner.sh --max-idle-kib $idle --max-growth-kib $growth --max-pss-kib $pss" || status=$?
    if [ "$status" != 0 ]; then
        # The inner VM is there still, and its console, where the cases ran out of time.
        "$SMOLCTL" run "$VM" --shell raw -c 'tail -n 20 /nested/state/vms/*/console.log 2>/dev/null' >&2 || true
    fi
    "$SMOLCTL" vm rm --force "$VM" >&2 || status=1
    STARTED=
    return "$status"
}

# check_vhost_user_is_not_saved DEVICE: a QEMU that has not begun to run a guest tells as well as any (docs/snapshots.md).
check_vhost_user_is_not_saved() {
    local case=vm_with_the_device_of_vhost_device_vsock_cannot_be_saved said
    "$1" --vm "guest-cid=3,uds-path=$FOLDER/vsock.sock,socket=$FOLDER/device.sock" >"$FOLDER/device.log" 2>&1 &
    DEVICE_PID=$!
    for _ in {1..200}; do
        [ ! -S "$FOLDER/device.sock" ] || break
        sleep 0.05
    done
    said=$(timeout 30 qemu-system-x86_64 -S -nodefaults -no-user-config -display none -accel tcg -m 64M \
        -machine q35,memory-backend=memory -object memory-backend-memfd,id=memory,size=64M,share=on \
        -chardev "socket,id=vsock,path=$FOLDER/device.sock" -device vhost-user-vsock-pci,chardev=vsock -qmp stdio 2>&1 <<'QMP'
{"execute": "qmp_capabilities"}
{"execute": "migrate", "arguments": {"uri": "exec:cat >/dev/null"}}
{"execute": "quit"}
QMP
    ) || true
    end_device
    case $said in
    *"non-migratable device"*vhost-user-vsock*)
        echo "passed  $case"
        echo "1 passed, 0 failed, 0 skipped"
        ;;
    *)
        printf 'FAILED  %s:\n%s\n' "$case" "$said"
        echo "0 passed, 1 failed, 0 skipped"
        return 1
        ;;
    esac
}

# The device mostly has ended with its QEMU.
end_device() {
    [ -n "${DEVICE_PID-}" ] || return 0
    kill "$DEVICE_PID" 2>/dev/null || true
    wait "$DEVICE_PID" 2>/dev/null || true
    DEVICE_PID=
}

# gather: everything that the outer VM needs, as /nested of it, in one archive.
gather() {
    local nested=$FOLDER/nested qemu library module modules
    mkdir -p "$nested/bin" "$nested/qemu" "$FOLDER/lib64"
    qemu=$(readlink -f "$(command -v qemu-system-x86_64)")
    cp "$qemu" "$nested/qemu/qemu-system-x86_64"
    mkdir -p "$FOLDER/lib/x86_64-linux-gnu"
    ldd "$qemu" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' | while read -r library; do
        cp -L "$library" "$FOLDER/lib/x86_64-linux-gnu/"
    done
    cp -L /lib64/ld-linux-x86-64.so.2 "$FOLDER/lib64/"
    # Where QEMU is built with modules, emulation is one.
    library=$(find /usr/lib -name accel-tcg-x86_64.so -print -quit)
    [ -z "$library" ] || cp "$library" "$nested/qemu/"
    for library in bios-256k.bin linuxboot_dma.bin pvh.bin kvmvapic.bin; do
        cp -L "$(find /usr/share/qemu /usr/share/seabios -name "$library" -print -quit)" "$nested/qemu/"
    done
    modules=$("$PROJECT/scripts/fetch-kernel.sh" x86_64 "$KERNEL" | value_of modules)
    for module in vhost_iotlb vhost vhost_vsock; do
        find "$modules" -name "$module.ko*" | while read -r library; do unpack_module "$library" "$nested/$module.ko"; done
    done
    unpack_kernel "$IMAGE/vmlinuz" "$nested/vmlinux"
    cp -r "$IMAGE" "$nested/image"
    build_static smolvm-host x86_64
    cp "$(dirname "$BINARY")/smolctl" "$nested/bin/"
    build_static smolvm-e2e x86_64
    cp "$BINARY" "$nested/bin/"
    cp "$PROJECT/scripts/lib/vhost-inner.sh" "$nested/inner.sh"
    cp "$PROJECT/scripts/lib/vhost-qemu.sh" "$nested/bin/qemu-system-x86_64"
    chmod +x "$nested/bin/qemu-system-x86_64"
    tar -C "$FOLDER" --owner=0 --group=0 -cf "$FOLDER/nested.tar" nested lib lib64
}

unpack_module() {
    case $1 in
    *.xz) xz -dc "$1" >"$2" ;;
    *) cp "$1" "$2" ;;
    esac
}

# unpack_kernel BZIMAGE FILE: the ELF kernel that a bzImage carries (the kernel's boot.rst: payload_offset, payload_length), packed
# with zstd as Debian's is; behind it stands its unpacked length.
unpack_kernel() {
    python3 - "$1" "$2.zst" <<'PYTHON'
import struct, sys
image = open(sys.argv[1], "rb").read()
begin = ((image[0x1F1] or 4) + 1) * 512
offset, length = struct.unpack_from("<II", image, 0x248)
open(sys.argv[2], "wb").write(image[begin + offset : begin + offset + length - 4])
PYTHON
    zstd -dq --rm "$2.zst" -o "$2" || die 1 "$1 is not packed with zstd, as Debian's kernel $KERNEL was"
}

end() {
    [ -z "${STARTED-}" ] || "$SMOLCTL" vm rm --force "$VM" >&2 || true
    end_device
    rm -rf "$FOLDER"
}

main "$@"
