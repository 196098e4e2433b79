# shellcheck shell=bash
# Sourced after environment.sh, static-build.sh and nix-tools.sh. Owns the two flakes that stand in for nixpkgs and crane
# (tests/nix): puts beside their files what they hand out, which is this machine's or Debian's.
#
# compose_stand_ins   needs FOLDER, a temporary one; sets STAND_INS, a folder with nixpkgs/ and crane/, and SANDBOX_PATHS, what
#                     builds see of this machine
# lock_stand_ins      sets NIXPKGS and CRANE, what to name them as inputs: by their hashes, so that no call reads them again

# The checks that mean something with stand-ins. Of the others scripts/test runs what they run; a cargo-deny of today is in no
# registry as a program, and takes longer to compile than all of this.
STAND_IN_CHECKS=(nix-files static-x86_64 static-aarch64 manifest-x86_64 manifest-aarch64 image-twice-x86_64
    image-twice-aarch64 vm-boot-x86_64 vm-boot-aarch64 vm-vsock vm-vhost-vsock vm-module)

compose_stand_ins() {
    local arch
    STAND_INS=$CACHE/nix-stand-ins
    rm -rf "$STAND_INS"
    mkdir -p "$STAND_INS"
    cp -r "$PROJECT/tests/nix/nixpkgs" "$PROJECT/tests/nix/crane" "$STAND_INS/"
    mkdir "$STAND_INS/nixpkgs/inputs"
    for arch in x86_64 aarch64; do
        gather_guest_parts "$arch" "$STAND_INS/nixpkgs/inputs"
    done
    gather_rust
    write_host
}

lock_stand_ins() {
    NIXPKGS=$(locked_reference "$STAND_INS/nixpkgs") || exit
    CRANE=$(locked_reference "$STAND_INS/crane") || exit
}

locked_reference() {
    nix_command flake metadata --json "path:$1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["url"])'
}

# gather_guest_parts ARCH FOLDER: kernel, busybox and ssh packages of a guest, as packages.nix names them.
gather_guest_parts() {
    local arch=$1 folder=$2 fetched kernel busybox packages
    fetched=$("$PROJECT/scripts/fetch-kernel.sh" "$arch" 6.12) || exit
    mkdir -p "$folder/kernel-$arch"
    case $arch in x86_64) kernel=bzImage ;; *) kernel=Image ;; esac
    cp "$(sed -n 's/^kernel=//p' <<<"$fetched")" "$folder/kernel-$arch/$kernel"
    # Of 3,000 modules those that a layout names: Nix reads a flake's folder anew at each call.
    local chosen=$FOLDER/modules-$arch
    mkdir -p "$chosen/lib/modules" "$chosen.work"
    cp -r "$(sed -n 's/^modules=//p' <<<"$fetched")" "$chosen/lib/modules/"
    (cd "$chosen.work" && rootModules=$(named_modules) allowMissing=1 \
        bash "$STAND_INS/nixpkgs/modules-closure.sh" "$chosen" "$folder/kernel-modules-$arch" 2>/dev/null) ||
        die 1 "could not choose the modules of Debian's kernel for $arch"
    cp "$chosen"/lib/modules/*/modules.{builtin,order} "$folder/kernel-modules-$arch"/lib/modules/*/
    rm -rf "$chosen" "$chosen.work"
    busybox=$("$PROJECT/scripts/fetch-busybox.sh" "$arch" | tail -n 1) || exit
    cp "$busybox" "$folder/busybox-$arch"
    packages=$("$PROJECT/scripts/fetch-ssh-packages.sh" "$arch" | tail -n 1) || exit
    cp -r "$packages" "$folder/ssh-packages-$arch"
    rm -rf "$folder/ssh-packages-$arch/usr/share"
}

# named_modules: the name of every module in a layout of ours.
named_modules() { sed -n 's/^module *[a-z]* *//p' "$PROJECT"/images/*/layout | sort -u; }

# The way to musl that build-guest-agent.sh takes, as a file that builds in the sandbox read.
gather_rust() {
    local arch
    declare -gA STD_SOURCES_OF=() STD_KIND_OF=()
    for arch in x86_64 aarch64; do
        # Prebuilt where it can be had: rebuilding std in each build would take most of the time.
        SMOLVM_STD=auto
        require_tools
        read_compiler
        STD_KIND='' STD_SOURCES=''
        find_prebuilt "$arch-unknown-linux-musl" || prepare_static_build "$arch"
        STD_KIND_OF[$arch]=$STD_KIND STD_SOURCES_OF[$arch]=$STD_SOURCES
    done
    install_zigbuild
    warm_zig
    # The manifest of std has what only its own compiler may say.
    RUSTC_BOOTSTRAP=1 "$CARGO" vendor --quiet --locked --versioned-dirs --manifest-path "$PROJECT/Cargo.toml" \
        $(vendor_std_too) "$FOLDER/vendor" >/dev/null || die 1 "cargo could not vendor the crates; see its messages above"
    # One file: Nix reads a flake's folder anew at each call.
    tar --create --sort=name --mtime=@1 --owner=0 --group=0 --directory="$FOLDER/vendor" . | gzip -1n >"$STAND_INS/crane/vendor.tar.gz"
    write_rust >"$STAND_INS/crane/rust.sh"
}

# std has a Cargo.lock of its own.
vendor_std_too() {
    local arch
    for arch in x86_64 aarch64; do
        [ -z "${STD_SOURCES_OF[$arch]}" ] || { echo --sync "${STD_SOURCES_OF[$arch]}/Cargo.toml"; return; }
    done
}

# zig builds its libc for a target at the first call: once here, not in each build.
warm_zig() {
    local arch
    ZIG_WARM=$CACHE/zig-warm-$ZIGLANG_VERSION
    [ -d "$ZIG_WARM" ] || (
        flock 9
        [ ! -d "$ZIG_WARM" ] || exit 0
        new=$(mktemp -d "$ZIG_WARM.new-XXXXXX")
        # shellcheck disable=SC2064 # the folder as it is now
        trap "rm -rf '$new'" EXIT
        echo 'int main(void) { return 0; }' >"$new/empty.c"
        for arch in x86_64 aarch64; do
            ZIG_GLOBAL_CACHE_DIR=$new/zig ZIG_LOCAL_CACHE_DIR=$new/local "$ZIGBUILD_HOME/ziglang/zig" cc \
                -target "$arch-linux-musl" -o "$new/empty" "$new/empty.c" -lunwind >&2 || die 1 "zig could not link for $arch"
        done
        chmod -R a+rX "$new/zig"
        mv -T "$new/zig" "$ZIG_WARM"
    ) 9>"$CACHE/zig-warm.lock" || exit
}

# write_rust: rust.sh of the crane stand-in, on standard output.
write_rust() {
    local arch
    cat <<RUST
# usage: . rust.sh TARGET   Defines cargo_for_target, and target_folder, where what it builds will be.
export PATH=$(dirname -- "$CARGO"):\$PATH RUSTC=$RUSTC
case \$1 in
*-musl)
    export CARGO_ZIGBUILD_ZIG_PATH=$ZIGBUILD_HOME/ziglang/zig CARGO_ZIGBUILD_CACHE_DIR=\$HOME/zigbuild
    export ZIG_GLOBAL_CACHE_DIR=\$HOME/zig ZIG_LOCAL_CACHE_DIR=\$HOME/zig
    cp -r $ZIG_WARM "\$HOME/zig"
    chmod -R u+w "\$HOME/zig"
    ;;
esac
target_folder=target/\$1
std=()
case \$1 in
RUST
    for arch in x86_64 aarch64; do
        echo "$arch-unknown-linux-musl)"
        if [ "${STD_KIND_OF[$arch]}" = rebuilt ]; then
            cat <<RUST
    export RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT=${STD_SOURCES_OF[$arch]}
    export CARGO_BUILD_RUSTFLAGS="\$CARGO_BUILD_RUSTFLAGS -Clink-self-contained=no --remap-path-prefix=${STD_SOURCES_OF[$arch]}=/rust/library"
    std=(-Zbuild-std=std,panic_unwind,test -Zbuild-std-features=panic-unwind,optimize_for_size)
RUST
        fi
        echo '    ;;'
    done
    cat <<RUST
*) target_folder=target ;;
esac
cargo_for_target() {
    local verb=\$1
    shift
    case \$target_folder in
    target) cargo "\$verb" "\$@" ;;
    *)
        [ "\$verb" != build ] || verb=zigbuild
        $ZIGBUILD_HOME/bin/cargo-zigbuild "\$verb" --target "\${target_folder#target/}" "\${std[@]}" "\$@"
        ;;
    esac
}
RUST
}

# host.nix of the nixpkgs stand-in.
write_host() {
    local path device checks
    device=$("$PROJECT/scripts/vm-tools.sh" --arch x86_64 --arch aarch64 | sed -n 's/^vhost-device-vsock=//p') || exit
    path=$LINTERS/bin:$(dirname -- "$device"):/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin
    checks=$(printf '"%s" ' "${STAND_IN_CHECKS[@]}")
    cat >"$STAND_INS/nixpkgs/host.nix" <<HOST
# What this machine has. Written by scripts/check-nix.
{
  path = "$path";
  pythonPath = "$LINTERS/python";
  checks = [ $checks];
}
HOST
    SANDBOX_PATHS=(/bin /usr /lib /lib64 "$LINTERS" "$(dirname -- "$device")" "$ZIGBUILD_HOME" "$ZIG_WARM" "$RUSTC_SYSROOT")
    [ ! -d /etc/alternatives ] || SANDBOX_PATHS+=(/etc/alternatives)
    local sources
    for sources in "${STD_SOURCES_OF[@]}"; do
        [ -z "$sources" ] || SANDBOX_PATHS+=("$sources")
    done
}
