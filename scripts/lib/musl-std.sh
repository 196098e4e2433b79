# shellcheck shell=bash
# Sourced after environment.sh. Owns the choice of the std that the agent is linked with:
#   rebuilt   small, from sources of the compiler's very release, without backtraces
#   prebuilt  as rustup and distributions ship it for the target; some 15 KB more
#
# choose_std TARGET WISH   WISH is rebuilt, prebuilt or auto (rebuilt where it can be had). Sets
#   STD_KIND      rebuilt or prebuilt
#   STD_SOURCES   the folder `library` of the sources; empty for prebuilt
#   RUSTC_RELEASE the compiler's release; RUSTC and CARGO, which are exported, may by then be another compiler (rust-web.sh)
#
# Sources come from the fixed folder, else from the toolchain itself (rustup's component rust-src, or a
# distribution's package), else from Debian's pinned package. Sources of another release never build: refused.

. "$PROJECT/scripts/lib/debian-packages.sh"
. "$PROJECT/scripts/lib/fixed-folder.sh"
. "$PROJECT/scripts/lib/rust-web.sh"

# A download of a few MB; without a network rustup may take its time to give up.
RUSTUP_SECONDS=120

choose_std() {
    local target=$1 wish=$2
    read_compiler
    STD_KIND='' STD_SOURCES='' NO_SOURCES_BECAUSE=''
    case $wish in
    rebuilt) find_sources || use_rust_web || die 2 "std cannot be rebuilt: $NO_SOURCES_BECAUSE" ;;
    prebuilt) find_prebuilt "$target" ||
        die 2 "rustc $RUSTC_RELEASE has no prebuilt std for $target; run 'rustup target add $target', or say SMOLVM_STD=rebuilt" ;;
    auto)
        lacked_sources_lately || find_sources || remember_lack_of_sources
        [ -n "$STD_KIND" ] || prebuilt_installed "$target" || use_rust_web_here || find_prebuilt "$target" || use_rust_web ||
            die 2 "no std for $target: $NO_SOURCES_BECAUSE; and 'rustup target add $target' did not bring a prebuilt one" ;;
    esac
}

read_compiler() {
    local version
    version=$("$RUSTC" -vV) || die 2 "'$RUSTC -vV' failed; is a Rust toolchain installed and chosen ('rustup default stable')?"
    RUSTC_RELEASE=$(sed -n 's/^release: //p' <<<"$version")
    RUSTC_SYSROOT=$("$RUSTC" --print sysroot)
    STD_NAME=rust-std-$RUSTC_RELEASE
    # A nightly's or beta's release names many compilers.
    case $RUSTC_RELEASE in *-*) STD_NAME=$STD_NAME-$(sed -n 's/^commit-hash: \(.\{9\}\).*/\1/p' <<<"$version") ;; esac
}

# Without sources, each call would ask rustup and Debian's mirror again, in vain and slowly: once a day is enough.
lacked_sources_lately() {
    local stamp=$CACHE/$STD_NAME.lacking
    [ -n "$(find "$stamp" -mmin -1440 2>/dev/null)" ] || return 1
    NO_SOURCES_BECAUSE=$(cat "$stamp")
}
remember_lack_of_sources() { printf '%s\n' "$NO_SOURCES_BECAUSE" >"$CACHE/$STD_NAME.lacking"; }

find_sources() {
    local in_toolchain=$RUSTC_SYSROOT/lib/rustlib/src/rust/library
    if ! find_fixed "$STD_NAME"; then
        [ -d "$in_toolchain" ] || ask_rustup component add rust-src || true
        if [ -d "$in_toolchain" ] && sources_match "$in_toolchain"; then
            say "taking the sources of std from the toolchain"
            # shellcheck disable=SC2016 # expanded by the bash that place_fixed runs
            place_fixed "$STD_NAME" 'cp -RL "$1" "$2/library"' "$in_toolchain"
        else
            place_debian_sources
        fi || return 1
    fi
    STD_KIND=rebuilt STD_SOURCES=$FIXED/library
    [ -f "$STD_SOURCES/std/Cargo.toml" ] || die 1 "$FIXED does not hold the sources of std; remove it and try again"
}

place_debian_sources() {
    local deb
    if [ "$RUSTC_RELEASE" != "$RUST_SRC_RELEASE" ]; then
        NO_SOURCES_BECAUSE=${NO_SOURCES_BECAUSE:-"rustc is $RUSTC_RELEASE, and neither its toolchain nor rustup has its sources; the pinned ones are of $RUST_SRC_RELEASE, and those of another release do not build"}
        return 1
    fi
    NO_SOURCES_BECAUSE="neither the toolchain, rustup nor Debian has the sources of rustc $RUSTC_RELEASE"
    have apt-get dpkg-deb || return 1
    say "fetching the sources of std $RUST_SRC_RELEASE from Debian (45 MB, once)"
    deb=$(fetch_deb "$RUST_SRC_DEB_SUITE" amd64 rust-src "$RUST_SRC_DEB_VERSION" "$RUST_SRC_DEB_SHA256") || return 1
    # shellcheck disable=SC2016 # expanded by the bash that place_fixed runs
    place_fixed "$STD_NAME" 'dpkg-deb --fsys-tarfile "$1" | tar -x --no-same-owner -C "$3" --strip-components=4 "$2"' \
        "$deb" "./usr/src/rustc-$RUST_SRC_RELEASE/library" || return 1
    delete_deb "$deb"
}

# sources_match LIBRARY: whether they are of the compiler's release. rustup's have no file that says so, but
# each release makes something stable, and the sources name the release that did; a nightly's name none yet.
sources_match() {
    local theirs
    case $RUSTC_RELEASE in *-*) return 0 ;; esac
    theirs=$(grep -rhoE '\bstable\(feature = "[^"]*", since = "1\.[0-9]+\.' "$1/core/src" "$1/alloc/src" "$1/std/src" |
        grep -oE '1\.[0-9]+\.$' | sort -V | tail -n 1)
    [ "$theirs" = "${RUSTC_RELEASE%.*}." ] || {
        NO_SOURCES_BECAUSE="the sources at $1 are of release ${theirs}x and rustc is $RUSTC_RELEASE; install the sources of the same release"
        say "$NO_SOURCES_BECAUSE"
        return 1
    }
}

prebuilt_installed() {
    compgen -G "$("$RUSTC" --print target-libdir --target "$1")/libstd-*.rlib" >/dev/null || return 1
    STD_KIND=prebuilt
}

find_prebuilt() { prebuilt_installed "$1" || { ask_rustup target add "$1" && prebuilt_installed "$1"; }; }

# ask_rustup WORDS…: where the compiler is one of rustup's; its failure is no failure of ours.
ask_rustup() {
    have rustup && [ "$(rustup which rustc 2>/dev/null)" = "$RUSTC_SYSROOT/bin/rustc" ] || return 1
    timeout "$RUSTUP_SECONDS" rustup "$@" </dev/null >/dev/null 2>&1 || {
        say "'rustup $*' did not work; going on without"
        return 1
    }
}
