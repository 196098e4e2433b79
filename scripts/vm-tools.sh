#!/usr/bin/env bash
# Brings what a VM needs on this machine: QEMU, from the system's packages (root or sudo, only if it is missing), and the
# pinned vhost-device-vsock in the cache, for hosts without /dev/vhost-vsock. Whatever the PATH has already is used as it is.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib/environment.sh"
. "$PROJECT/scripts/lib/debian-packages.sh"

usage() {
    cat <<USAGE
usage: scripts/vm-tools.sh [--arch x86_64|aarch64]...

Installs QEMU for guests of those architectures (default: this machine's) and provides vhost-device-vsock.
Prints a line each on standard output: vhost-device-vsock=PATH, qemu-x86_64=PATH, qemu-aarch64=PATH.
USAGE
}

main() {
    local guests=() guest device
    while [ $# -gt 0 ]; do
        case $1 in
        -h | --help) usage; exit 0 ;;
        --arch)
            [ $# -ge 2 ] || die 2 "--arch needs an architecture: x86_64 or aarch64"
            debian_arch "$2" >/dev/null
            guests+=("$2")
            shift 2
            ;;
        *) die 2 "unknown argument '$1'; see --help" ;;
        esac
    done
    [ ${#guests[@]} -gt 0 ] || guests=("$(uname -m)")

    for guest in "${guests[@]}"; do
        provide_qemu "$guest"
    done
    device=$(provide_device) || exit
    echo "vhost-device-vsock=$device"
    for guest in "${guests[@]}"; do
        echo "qemu-$guest=$(command -v "qemu-system-$guest")"
    done | sort -u
}

provide_qemu() {
    have "qemu-system-$1" && return
    case $1 in
    x86_64) install_packages qemu-system-x86 ;;
    aarch64) install_packages qemu-system-arm ;;
    *) die 2 "unknown architecture '$1' of this machine; choose the guest's by --arch x86_64 or --arch aarch64" ;;
    esac
    have "qemu-system-$1" || die 1 "there is still no qemu-system-$1 on the PATH after installing its package"
}

provide_device() {
    local device=$CACHE/bin/vhost-device-vsock
    if have vhost-device-vsock; then
        command -v vhost-device-vsock
        return
    fi
    if ! is_pinned_device "$device"; then
        mkdir -p "$CACHE/bin"
        (
            flock 9
            is_pinned_device "$device" || device_from_debian "$device" || device_from_cargo "$device"
        ) 9>"$CACHE/bin/vhost-device-vsock.lock" || exit
    fi
    echo "$device"
}

# Runs it: a package for a newer libc than this machine's does not start, and is then built instead.
is_pinned_device() {
    [ -x "$1" ] && [ "$("$1" --version 2>/dev/null)" = "vhost-device-vsock $VHOST_DEVICE_VSOCK_VERSION" ]
}

# Debian's package is there in seconds, where the pinned version still is; all failures fall back to building.
device_from_debian() (
    have apt-get dpkg || return 1
    case $(dpkg --print-architecture) in
    amd64) sha256=$VHOST_DEVICE_VSOCK_DEB_SHA256_AMD64 ;;
    arm64) sha256=$VHOST_DEVICE_VSOCK_DEB_SHA256_ARM64 ;;
    *) return 1 ;;
    esac
    deb=$(fetch_deb "$VHOST_DEVICE_VSOCK_DEB_SUITE" "$(dpkg --print-architecture)" \
        vhost-device-vsock "$VHOST_DEVICE_VSOCK_DEB_VERSION" "$sha256") || return 1
    unpacked=$(mktemp -d "$CACHE/bin/.unpack-XXXXXX") || return 1
    trap 'rm -rf "$unpacked"' EXIT
    unpack_deb "$deb" "$unpacked" ./usr/bin/vhost-device-vsock || return 1
    delete_deb "$deb"
    is_pinned_device "$unpacked/usr/bin/vhost-device-vsock" || return 1
    mv -f "$unpacked/usr/bin/vhost-device-vsock" "$1"
)

device_from_cargo() (
    have cargo || die 2 "vhost-device-vsock is needed; install it, or a Rust toolchain to build it with"
    say "Debian's vhost-device-vsock $VHOST_DEVICE_VSOCK_VERSION is not to be had here; building it, which takes about two minutes"
    root=$(mktemp -d "$CACHE/bin/.build-XXXXXX") || exit
    trap 'rm -rf "$root"' EXIT
    # From the root folder, so that no toolchain file or cargo configuration of a checkout has a say.
    cd /
    env -u CARGO_TARGET_DIR -u RUSTFLAGS cargo install --quiet --locked \
        --version "$VHOST_DEVICE_VSOCK_VERSION" --root "$root" vhost-device-vsock >&2 ||
        die 1 "could not build vhost-device-vsock $VHOST_DEVICE_VSOCK_VERSION; see cargo's messages above"
    mv -f "$root/bin/vhost-device-vsock" "$1"
)

main "$@"
