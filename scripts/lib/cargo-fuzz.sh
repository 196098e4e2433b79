# shellcheck shell=bash
# Sourced after environment.sh. Owns how the fuzzer's programs are built: cargo-fuzz, pinned, in the cache; a nightly compiler where there is
# one, or else (and where RUSTUP_TOOLCHAIN names another) any, which is told to be one.
#
# provide_cargo_fuzz       sets CARGO_FUZZ
# build_targets [TARGET]   builds one, or all; sets BINARIES, the folder that they are in

provide_cargo_fuzz() {
    local home=$CACHE/cargo-fuzz-$CARGO_FUZZ_VERSION
    require_rust
    have c++ || install_packages g++
    CARGO_FUZZ=$home/bin/cargo-fuzz
    [ ! -x "$CARGO_FUZZ" ] || return 0
    (
        flock 9
        [ ! -x "$CARGO_FUZZ" ] || exit 0
        say "building cargo-fuzz $CARGO_FUZZ_VERSION (once)"
        new=$(mktemp -d "$home.new-XXXXXX") || exit
        trap 'rm -rf "$new"' EXIT
        # From the root folder, so that no toolchain file or cargo configuration of a checkout has a say.
        cd /
        env -u CARGO_TARGET_DIR -u RUSTFLAGS cargo install --quiet --locked --version "$CARGO_FUZZ_VERSION" --root "$new" cargo-fuzz >&2 ||
            die 1 "could not build cargo-fuzz $CARGO_FUZZ_VERSION; see cargo's messages above"
        rm -rf "$home"
        mv -T "$new" "$home"
    ) 9>"$CACHE/cargo-fuzz.lock" || exit
}

build_targets() {
    local sanitizer=address folder=${CARGO_TARGET_DIR:-$PROJECT/target}/fuzz-build
    if [ -z "${RUSTUP_TOOLCHAIN-}" ] && have rustup && rustup run nightly rustc --version >/dev/null 2>&1; then
        export RUSTUP_TOOLCHAIN=nightly
    else
        export RUSTC_BOOTSTRAP=1
    fi
    # A distribution's compiler may come without.
    if ! compgen -G "$(rustc --print sysroot)/lib/rustlib/*/lib/librustc*rt.asan.a" >/dev/null; then
        say "this compiler has no address sanitizer; going on without"
        sanitizer=none
    fi
    "$CARGO_FUZZ" build --fuzz-dir "$PROJECT/fuzz" --target-dir "$folder" --features libfuzzer --sanitizer "$sanitizer" "$@" >&2 ||
        die 1 "could not build the targets; see cargo's messages above"
    # shellcheck disable=SC2034 # the result
    BINARIES=$folder/$(rustc --print host-tuple 2>/dev/null || rustc -vV | sed -n 's/^host: //p')/release
}
