# shellcheck shell=bash
# Sourced after environment.sh. Owns the way from nothing to a bootable image of this checkout: smolctl, the agent,
# a kernel, busybox, and the image made of them. Each part is made again only where it has changed.
#
# build_smolctl               sets SMOLCTL
# build_image ARCH KERNEL [VARIANT]
#                             KERNEL is 6.1 or 6.12 (Debian's), VARIANT minimal (the default), disk or ssh; sets IMAGE, the
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
    local stamp
    gather_inputs "$@"
    IMAGE=$PROJECT/target/images/$1-$2
    [ "${3:-minimal}" = minimal ] || IMAGE+=-$3
    stamp=$IMAGE.inputs
    if [ "$INPUT_SUMS" = "$(cat "$stamp" 2>/dev/null)" ] && "$SMOLCTL" image verify "$IMAGE" >/dev/null 2>&1; then
        return 0
    fi
    compose_image "$IMAGE"
    printf '%s\n' "$INPUT_SUMS" >"$stamp"
}

# compose_image FOLDER: the same image once more, after build_image.
compose_image() {
    mkdir -p "${1%/*}"
    "$SMOLCTL" image build "${INPUTS[@]}" -o "$1" >&2 || die 1 "the image $1 could not be built; see the message above"
}

# gather_inputs ARCH KERNEL [VARIANT]: sets INPUTS, the builder's options, and INPUT_SUMS, a text that changes with them.
gather_inputs() {
    local arch=$1 kernel_version=$2 variant=${3:-minimal} agent busybox fetched kernel modules packages
    agent=$("$PROJECT/scripts/build-guest-agent.sh" "$arch" | tail -n 1) || exit
    busybox=$("$PROJECT/scripts/fetch-busybox.sh" "$arch" | tail -n 1) || exit
    fetched=$("$PROJECT/scripts/fetch-kernel.sh" "$arch" "$kernel_version") || exit
    kernel=$(value_of kernel <<<"$fetched") modules=$(value_of modules <<<"$fetched")
    INPUTS=(--variant "$variant" --arch "$arch" --kernel "$kernel" --modules "$modules" --busybox "$busybox" --agent "$agent")
    INPUT_SUMS=$(sha256sum "$agent" "$busybox" "$kernel" "$SMOLCTL")
    if [ "$variant" = ssh ]; then
        [ -x /usr/sbin/mke2fs ] || have mke2fs || install_packages e2fsprogs
        packages=$("$PROJECT/scripts/fetch-ssh-packages.sh" "$arch" | tail -n 1) || exit
        INPUTS+=(--packages "$packages")
        INPUT_SUMS+=$'\n'$(find "$packages" -type f -exec sha256sum {} + | sha256sum)
        INPUT_SUMS+=$'\n'$(PATH=$PATH:/usr/sbin mke2fs -V 2>&1)
    fi
}
