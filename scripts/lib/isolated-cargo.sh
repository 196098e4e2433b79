# shellcheck shell=bash
# Sourced after environment.sh, zig.sh and musl-std.sh. Owns how cargo is run for the shipped agent: the same
# bytes whoever runs it. A user's environment reaches it only where it says how crates are fetched; a user's
# cargo configuration, likewise, since what concerns code is said again where no file can outrank it.
#
# build_static PACKAGE ARCH   builds the package's program of that name, with the std that choose_std chose; sets BINARY
#                             With SYMBOLS=-symbols, a folder of its own holds the same program with its symbols (size-report).
# test_static ARCH PACKAGE…   runs the packages' unit tests, built as the shipped program is; where this machine cannot run
#                             them itself, through CARGO_TARGET_<ARCH>_UNKNOWN_LINUX_MUSL_RUNNER

SYMBOLS=

build_static() {
    local package=$1 arch=$2
    run_cargo "$arch" zigbuild std,panic_unwind --package "$package" >&2 ||
        die 1 "cargo could not build $package for $arch; see its messages above"
    BINARY=$PROJECT/target/guest-agent/$STD_KIND-$arch$SYMBOLS/$arch-unknown-linux-musl/release/$package
}

test_static() {
    local arch=$1 packages
    shift
    packages=("${@/#/--package=}")
    run_cargo "$arch" test std,panic_unwind,test --lib --bins "${packages[@]}"
}

# run_cargo ARCH SUBCOMMAND CRATES_OF_STD WORDS…
run_cargo() {
    local arch=$1 subcommand=$2 crates=$3 target=$1-unknown-linux-musl folder cargo_home remaps std_options=() environment profile
    shift 3
    folder=$PROJECT/target/guest-agent/$STD_KIND-$arch$SYMBOLS
    cargo_home=${CARGO_HOME:-$HOME/.cargo}
    remaps=("$cargo_home=/cargo" "$(realpath -m -- "$cargo_home")=/cargo" "$PROJECT=/smolvm"
        # With rustup's rust-src installed, rustc knows std by the place of it.
        "$RUSTC_SYSROOT/lib/rustlib/src/rust=/rust")
    readarray -t environment < <(fetching_environment)
    readarray -t profile < <(profile_options)
    [ -z "$SYMBOLS" ] || profile+=('strip="none"')
    if [ "$STD_KIND" = rebuilt ]; then
        remaps+=("$STD_SOURCES=/rust/library")
        # Without `backtrace`: names that a stripped binary does not have.
        std_options=("-Zbuild-std=$crates" "-Zbuild-std-features=panic-unwind,optimize_for_size")
        environment+=(RUSTC_BOOTSTRAP=1 "__CARGO_TESTS_ONLY_SRC_ROOT=$STD_SOURCES")
    fi
    mkdir -p "$CACHE/zig"
    env -i "${environment[@]}" \
        PATH="$(dirname -- "$CARGO"):$PATH" HOME="$HOME" CARGO_HOME="$cargo_home" CARGO="$CARGO" RUSTC="$RUSTC" \
        RUSTC_WRAPPER='' RUSTC_WORKSPACE_WRAPPER='' CARGO_INCREMENTAL=0 \
        CARGO_ENCODED_RUSTFLAGS="$(rust_flags "$arch" "${remaps[@]}")" \
        CARGO_ZIGBUILD_ZIG_PATH="$ZIGBUILD_HOME/ziglang/zig" CARGO_ZIGBUILD_CACHE_DIR="$CACHE/zig" \
        ZIG_GLOBAL_CACHE_DIR="$CACHE/zig/global" ZIG_LOCAL_CACHE_DIR="$CACHE/zig/local" \
        "$ZIGBUILD_HOME/bin/cargo-zigbuild" "$subcommand" --manifest-path "$PROJECT/Cargo.toml" --target-dir "$folder" \
        --release --locked "$@" --target "$target" "${std_options[@]}" \
        "${profile[@]/#/--config=profile.release.}"
}

# Cargo takes these flags whole, instead of RUSTFLAGS and of every rustflags in a configuration file; separated by 0x1f.
# rust_flags ARCH REMAPS…
rust_flags() {
    local arch=$1 remap flags
    shift
    readarray -t flags < <(awk -v arch="$arch" '$1 == "all" || $1 == arch { print $2 }' "$PROJECT/guest-agent/rustflags")
    for remap in "$@"; do flags+=("--remap-path-prefix=$remap"); done
    # zig brings the start files; rustc's own would be rcrt1.o, which a rebuilt std does not have.
    [ "$STD_KIND" = prebuilt ] || flags+=(-Clink-self-contained=no)
    flags+=("-Clink-arg=-Wl,--build-id=none")
    # Where the processor has no instructions for SHA-256, a loop in place of 5 KB of unrolled rounds.
    flags+=(--cfg 'sha2_backend_soft="compact"')
    # Names of this scheme tell the crates of a generic function.
    [ -z "$SYMBOLS" ] || flags+=(-Csymbol-mangling-version=v0)
    (IFS=$'\x1f'; printf '%s' "${flags[*]}")
}

# profile_options: KEY=VALUE of the manifest's [profile.release], word for word, and cargo's defaults for what it leaves out.
profile_options() {
    printf '%s\n' debug=false debug-assertions=false overflow-checks=false incremental=false rpath=false
    awk '/^\[/ { here = $0 == "[profile.release]" } here' "$PROJECT/Cargo.toml" |
        sed -n 's/^\([a-z-]*\) *= *\("[^"]*"\|[^ #]*\).*/\1=\2/p'
}

# fetching_environment: NAME=VALUE of the variables that say where toolchains and crates come from, a line each.
fetching_environment() {
    local name
    for name in $(compgen -e); do
        case $name in
        RUSTUP_* | CARGO_HTTP_* | CARGO_NET_* | CARGO_REGISTRY_* | CARGO_REGISTRIES_* | CARGO_SOURCE_* | \
            http_proxy | https_proxy | no_proxy | all_proxy | HTTP_PROXY | HTTPS_PROXY | NO_PROXY | ALL_PROXY | \
            SSL_CERT_FILE | SSL_CERT_DIR | SSH_AUTH_SOCK | TMPDIR | TERM | USER | CARGO_TARGET_*_RUNNER) printf '%s=%s\n' "$name" "${!name}" ;;
        esac
    done
}
