# shellcheck shell=bash
# Sourced after environment.sh. The way to static musl programs of this workspace: fetches what is missing (zig.sh,
# musl-std.sh), builds (isolated-cargo.sh) and looks at the result (static-binary.sh).
#
# prepare_static_build ARCH   to be called once before build_static and test_static (isolated-cargo.sh)

. "$PROJECT/scripts/lib/zig.sh"
. "$PROJECT/scripts/lib/musl-std.sh"
. "$PROJECT/scripts/lib/isolated-cargo.sh"
. "$PROJECT/scripts/lib/static-binary.sh"

prepare_static_build() {
    local arch=$1 wish=${SMOLVM_STD:-auto}
    case $arch in x86_64 | aarch64) ;; *) die 2 "unknown architecture '$arch'; it is x86_64 or aarch64" ;; esac
    case $wish in rebuilt | prebuilt | auto) ;; *) die 2 "SMOLVM_STD is '$wish'; it is rebuilt, prebuilt or auto" ;; esac
    require_tools
    choose_std "$arch-unknown-linux-musl" "$wish"
    say "std: $STD_KIND (rustc $RUSTC_RELEASE)"
    install_zigbuild
}

require_tools() {
    have rustc cargo || die 2 "a Rust toolchain is needed, and rustc and cargo are not on the PATH; install one (rustup, or your distribution's)"
    # The tools themselves, where rustup puts a chooser before them: it would have to be asked at each of hundreds of calls.
    local chosen
    chosen=$(rustc --print sysroot) || die 2 "'rustc --print sysroot' failed; is a toolchain chosen ('rustup default stable')?"
    export RUSTC=$chosen/bin/rustc CARGO=$chosen/bin/cargo
    have "$RUSTC" "$CARGO" || { RUSTC=$(command -v rustc) CARGO=$(command -v cargo); }
    have flock || die 2 "flock is needed; install util-linux"
    # Build scripts of crates are linked for this machine.
    have cc readelf || install_packages gcc libc6-dev binutils
}
