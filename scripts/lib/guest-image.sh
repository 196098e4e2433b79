# shellcheck shell=bash
# Sourced after environment.sh. Owns the way from nothing to a bootable image of this checkout: smolctl, the agent,
# a kernel, busybox, and the image made of them. Each part is made again only where it has changed.
#
# build_smolctl               sets SMOLCTL
# build_image ARCH KERNEL [VARIANT]
#                             KERNEL is 6.1 or 6.12 (Debian's), VARIANT minimal (the default) or ssh; sets IMAGE, the
#                             image's folder: target/images/ARCH-KERNEL, with -VARIANT for all but minimal

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
    local arch=$1 kernel_version=$2 variant=${3:-minimal} agent busybox fetched kernel modules inputs stamp packages options
    IMAGE=$PROJECT/target/images/$arch-$kernel_version
    [ "$variant" = minimal ] || IMAGE+=-$variant
    agent=$("$PROJECT/scripts/build-guest-agent.sh" "$arch" | tail -n 1) || exit
    busybox=$("$PROJECT/scripts/fetch-busybox.sh" "$arch" | tail -n 1) || exit
    fetched=$("$PROJECT/scripts/fetch-kernel.sh" "$arch" "$kernel_version") || exit
    kernel=$(value_of kernel <<<"$fetched") modules=$(value_of modules <<<"$fetched")
    options=(--variant "$variant")
    inputs=$(sha256sum "$agent" "$busybox" "$kernel" "$SMOLCTL")
    if [ "$variant" = ssh ]; then
        [ -x /usr/sbin/mke2fs ] || have mke2fs || install_packages e2fsprogs
        packages=$("$PROJECT/scripts/fetch-ssh-packages.sh" "$arch" | tail -n 1) || exit
        options+=(--packages "$packages")
        inputs+=$'\n'$packages-$(stat -c %Y "$packages")
    fi
    stamp=$IMAGE.inputs
    if [ "$inputs" = "$(cat "$stamp" 2>/dev/null)" ] && "$SMOLCTL" image verify "$IMAGE" >/dev/null 2>&1; then
        return 0
    fi
    mkdir -p "${IMAGE%/*}"
    "$SMOLCTL" image build --arch "$arch" --kernel "$kernel" --modules "$modules" --busybox "$busybox" --agent "$agent" \
        "${options[@]}" -o "$IMAGE" >&2 || die 1 "the image for $arch with kernel $kernel_version could not be built; see the message above"
    printf '%s\n' "$inputs" >"$stamp"
}
