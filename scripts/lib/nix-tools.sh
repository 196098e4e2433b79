# shellcheck shell=bash
# Sourced after environment.sh and debian-packages.sh. Owns a Nix for machines that have none, and the linters of Nix files:
# all of it in the cache, nothing in the system but patchelf. Its store is a folder of the cache, so that no /nix is touched.
#
# provide_nix       sets NIX, the program, for calls by `nix_command`
# nix_command WORDS…  nix with our configuration and store; NIX_STORE_FOLDER is where the store's /nix/store really is
# provide_linters   sets LINTERS, a folder with bin/nixpkgs-fmt and bin/deadnix, and python/ with pyflakes

provide_nix() {
    local folder=$CACHE/nix-$NIX_SUITE
    if [ ! -x "$folder/bin/nix" ]; then
        (
            flock 9
            [ -x "$folder/bin/nix" ] || place_nix "$folder"
        ) 9>"$folder.lock" || exit
    fi
    NIX=$folder/bin/nix
    NIX_HOME=$CACHE/nix-home
    NIX_STORE_FOLDER=$NIX_HOME/nix/store
    mkdir -p "$NIX_HOME/etc"
    [ -e "$NIX_HOME/etc/nix.conf" ] || : >"$NIX_HOME/etc/nix.conf"
}

# Debian's package with its libraries, each as it is in that suite, next to it: the machine's own may be older.
place_nix() {
    local folder=$1 arch work loader
    arch=$(debian_arch "$(uname -m)") || exit
    have patchelf || install_packages patchelf
    say "fetching Nix of Debian $NIX_SUITE (50 MB, once)"
    work=$(mktemp -d "$folder.new-XXXXXX") || exit
    # shellcheck disable=SC2064 # the folder as it is now
    trap "rm -rf '$work'" EXIT
    fetch_deb_closure "$NIX_SUITE" "$arch" nix-bin "$work/debs" || exit
    local deb
    for deb in "$work"/debs/*.deb; do
        unpack_deb "$deb" "$work/root" || die 1 "could not unpack $deb"
    done
    mkdir -p "$work/kept/bin" "$work/kept/lib"
    cp "$work/root/usr/bin/nix" "$work/kept/bin/nix"
    loader=$(find "$work/root" -name 'ld-linux-*.so.*' ! -type d -print -quit)
    # Flat: no two libraries of it share a name.
    find "$work/root" \( -name '*.so' -o -name '*.so.*' \) ! -type d -path "*/$(uname -m)-linux-gnu/*" \
        -exec cp -nL {} "$work/kept/lib/" \; 2>/dev/null || true
    cp -L "$loader" "$work/kept/lib/"
    patchelf --set-interpreter "$folder/lib/$(basename -- "$loader")" --force-rpath --set-rpath "$folder/lib" \
        "$work/kept/bin/nix" || die 1 "patchelf could not adapt Nix"
    rm -rf "$folder"
    mv -T "$work/kept" "$folder"
    "$folder/bin/nix" --version >&2 || die 1 "Debian's Nix does not start on this machine"
}

# write_nix_configuration PATH…: what the sandbox sees besides the store.
write_nix_configuration() {
    cat >"$NIX_HOME/etc/nix.conf" <<CONF
experimental-features = nix-command flakes
build-users-group =
substituters =
flake-registry =
sandbox = true
sandbox-fallback = false
sandbox-paths = $*
max-jobs = auto
warn-dirty = false
CONF
}

nix_command() {
    env -u NIX_PATH -u NIX_CONFIG NIX_CONF_DIR="$NIX_HOME/etc" NIX_USER_CONF_FILES= HOME="$NIX_HOME" XDG_CACHE_HOME="$NIX_HOME/cache" \
        "$NIX" --store "$NIX_HOME" "$@"
}

provide_linters() {
    LINTERS=$CACHE/nix-linters-$NIXPKGS_FMT_VERSION-$DEADNIX_VERSION-$PYFLAKES_VERSION
    [ -d "$LINTERS" ] || (
        flock 9
        [ -d "$LINTERS" ] || place_linters
    ) 9>"$CACHE/nix-linters.lock" || exit
}

place_linters() {
    local work python
    work=$(mktemp -d "$LINTERS.new-XXXXXX") || exit
    # shellcheck disable=SC2064 # the folder as it is now
    trap "rm -rf '$work'" EXIT
    say "building nixpkgs-fmt $NIXPKGS_FMT_VERSION and deadnix $DEADNIX_VERSION (once)"
    (cd / && env -u CARGO_TARGET_DIR -u RUSTFLAGS CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 \
        cargo install --quiet --locked --root "$work/tools" --target-dir "$work/target" \
        "nixpkgs-fmt@$NIXPKGS_FMT_VERSION" "deadnix@$DEADNIX_VERSION" >&2) || die 1 "cargo could not build the linters of Nix files"
    python=$(python_with_pip) || exit
    echo "pyflakes==$PYFLAKES_VERSION --hash=sha256:$PYFLAKES_SHA256" >"$work/requirements.txt"
    PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_ROOT_USER_ACTION=ignore "$python" -m pip install --quiet --no-deps --only-binary :all: \
        --disable-pip-version-check --require-hashes -r "$work/requirements.txt" --target "$work/tools/python" >&2 ||
        die 1 "pip could not install pyflakes; see its messages above"
    mv -T "$work/tools" "$LINTERS"
}
