# shellcheck shell=bash
# Sourced after environment.sh. Owns the way from nothing to a bootable image of this checkout: smolctl, the agent,
# a kernel, busybox, and the image made of them. Each part is made again only where it has changed.
#
# build_smolctl               sets SMOLCTL
# build_image ARCH KERNEL     KERNEL is 6.1 or 6.12 (Debian's); sets IMAGE, the image's folder

build_smolctl() {
    require_rust
    have cc || install_packages gcc libc6-dev
    cargo build --quiet --release --locked --manifest-path "$PROJECT/Cargo.toml" --target-dir "$PROJECT/target" \
        --bin smolctl >&2 || die 1 "cargo could not build smolctl; see its messages above"
    SMOLCTL=$PROJECT/target/release/smolctl
}

# value_of NAME: the value of a line NAME=VALUE on standard input.
value_of() { sed -n "s/^$1=//p"; }

build_image() {
    local arch=$1 kernel_version=$2 agent busybox fetched kernel modules inputs stamp
    IMAGE=$PROJECT/target/images/$arch-$kernel_version
    agent=$("$PROJECT/scripts/build-guest-agent.sh" "$arch" | tail -n 1) || exit
    busybox=$("$PROJECT/scripts/fetch-busybox.sh" "$arch" | tail -n 1) || exit
    fetched=$("$PROJECT/scripts/fetch-kernel.sh" "$arch" "$kernel_version") || exit
    kernel=$(value_of kernel <<<"$fetched") modules=$(value_of modules <<<"$fetched")
    stamp=$IMAGE.inputs
    inputs=$(sha256sum "$agent" "$busybox" "$kernel" "$SMOLCTL")
    if [ -s "$IMAGE/manifest.json" ] && [ -s "$IMAGE/vmlinuz" ] && [ -s "$IMAGE/initramfs.cpio.gz" ] && [ "$inputs" = "$(cat "$stamp" 2>/dev/null)" ]; then
        return 0
    fi
    mkdir -p "${IMAGE%/*}"
    "$SMOLCTL" image build --arch "$arch" --kernel "$kernel" --modules "$modules" --busybox "$busybox" --agent "$agent" \
        -o "$IMAGE" >&2 || die 1 "the image for $arch with kernel $kernel_version could not be built; see the message above"
    printf '%s\n' "$inputs" >"$stamp"
}
