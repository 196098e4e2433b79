# shellcheck shell=bash
# Sourced by musl-std.sh, the last resort of its choice: Debian 12's compiler for browsers (rustc-web, cargo-web)
# with the sources of the same release (rust-web-src), unpacked into the fixed folder. Never installed, since the packages would
# put out rustc and rustup. What they need beside what is installed here comes along, verified by apt.
#
# use_rust_web        makes it the compiler and sets STD_KIND and STD_SOURCES, or fails saying what it lacked
# use_rust_web_here   the same without fetching anything

use_rust_web_here() {
    find_fixed rust-web || return 1
    export RUSTC=$FIXED/bin/rustc CARGO=$FIXED/bin/cargo
    read_compiler
    # shellcheck disable=SC2034 # the result
    STD_KIND=rebuilt STD_SOURCES=$FIXED/usr/src/rustc-$RUSTC_RELEASE/library
    [ -f "$STD_SOURCES/std/Cargo.toml" ] || die 1 "$FIXED holds a compiler without its sources of std; remove it and try again"
    say "building with Debian's rustc-web $RUSTC_RELEASE, since no musl std can be had for this machine's own compiler"
}

use_rust_web() {
    local debs
    use_rust_web_here && return 0
    have apt-get apt-cache dpkg-deb || return 1
    if [ -z "$(apt-cache madison rust-web-src 2>/dev/null)" ]; then
        as_root apt-get update -qq >&2 || true
        [ -n "$(apt-cache madison rust-web-src 2>/dev/null)" ] || return 1
    fi
    say "fetching Debian's rustc-web with its sources of std (120 MB, once)"
    debs=$(mktemp -d "$CACHE/rust-web-XXXXXX")
    # shellcheck disable=SC2046 # one word a package
    # shellcheck disable=SC2016 # expanded by the bash that place_fixed runs
    (cd "$debs" && apt-get -o APT::Sandbox::User=root download -qq $(rust_web_packages) >&2) &&
        place_fixed rust-web "$UNPACK_RUST_WEB" "$debs" || {
        rm -rf "$debs"
        return 1
    }
    rm -rf "$debs"
    use_rust_web_here
}

# The three and those of their dependencies that are not installed: what apt would install.
rust_web_packages() {
    apt-get install --simulate --no-install-recommends rustc-web cargo-web rust-web-src 2>/dev/null |
        sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1=\2/p'
}

# shellcheck disable=SC2016 # expanded by the bash that place_fixed runs
UNPACK_RUST_WEB='
    for deb in "$1"/*.deb; do dpkg-deb -x "$deb" "$2"; done
    # 600 MB of the sources and manuals of the compiler itself that nothing here reads.
    find "$2"/usr/src/rustc-* -mindepth 1 -maxdepth 1 ! -name library -exec rm -rf {} +
    rm -rf "$2/usr/share"
    mkdir "$2/bin"
    for tool in rustc cargo; do
        printf "%s\n" "#!/bin/sh" "here=\$(dirname -- \"\$(dirname -- \"\$0\")\")" \
            "LD_LIBRARY_PATH=\$(echo \"\$here\"/usr/lib/*-linux-gnu) exec \"\$here/usr/bin/$tool\" \"\$@\"" >"$2/bin/$tool"
        chmod +x "$2/bin/$tool"
    done
'
