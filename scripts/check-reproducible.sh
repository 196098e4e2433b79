#!/usr/bin/env bash
# Proves that the commit alone makes the bytes of the agent: builds HEAD twice, in two checkouts whose paths,
# home, cargo home and cache differ in place and length, and compares. Downloads and tools are copied from
# the real ones; all that goes into the binary (crates, std, musl, libunwind) is unpacked and compiled anew.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib/environment.sh"
. "$PROJECT/scripts/lib/zig.sh"

usage() {
    cat <<'USAGE'
Usage: scripts/check-reproducible.sh x86_64|aarch64

Builds the agent of the commit HEAD in two places and prints its sha256 if both are the same, byte for byte.
Takes SMOLVM_STD as build-guest-agent.sh does, and two cold builds' time: about two minutes on two cores.

Exit codes: 1 the two differ, or a build failed; 2 a wrong call or a missing tool.
USAGE
}

main() {
    case ${1:-} in -h | --help) usage; return ;; esac
    [ $# = 1 ] || die 2 "one architecture is needed, x86_64 or aarch64; see --help"
    local arch=$1 first second
    case $arch in x86_64 | aarch64) ;; *) die 2 "unknown architecture '$arch'; it is x86_64 or aarch64" ;; esac
    have git cmp sha256sum rustc cargo || die 2 "git, cmp, sha256sum, rustc and cargo are needed; install git, diffutils, coreutils and a Rust toolchain"
    # Once: somebody may commit between the two builds.
    COMMIT=$(git -C "$PROJECT" rev-parse --quiet --verify HEAD) ||
        die 2 "$PROJECT is no git checkout, and what is built twice is a commit"
    [ -z "$(git -C "$PROJECT" status --porcelain)" ] ||
        say "this checkout has changes that are not committed; what is compared is the commit ${COMMIT:0:12}"

    install_zigbuild
    PLACES=$(mktemp -d "${TMPDIR:-/tmp}/smolvm-reproducible-XXXXXX")
    trap 'rm -rf "$PLACES"' EXIT
    first=$(build_in "$PLACES/one" "$arch") || exit
    second=$(build_in "$PLACES/the other/place" "$arch") || exit
    cmp -- "$first" "$second" >&2 ||
        die 1 "the agent of one commit differs between two places; compare the symbols of two builds without 'strip' to find what leaks in"
    say "the same $(stat -c %s "$first") bytes for $arch, std $(cat "$first.std")"
    sha256sum <"$first" | cut -d ' ' -f 1
}

# build_in PLACE ARCH: prints the path of the binary that a checkout of COMMIT at PLACE builds with homes there.
build_in() {
    local place=$1 arch=$2 cargo_home=${CARGO_HOME:-$HOME/.cargo} chosen=()
    mkdir -p "$place/home" "$place/cargo/registry" "$place/cache"
    git clone --quiet --shared --no-checkout "$PROJECT" "$place/checkout" &&
        git -C "$place/checkout" checkout --quiet --detach "$COMMIT" || die 1 "could not check out $COMMIT into $place"
    cp -a "$ZIGBUILD_HOME" "$place/cache/" || exit
    # Registry addresses and mirrors are a user's own; crates are unpacked again from their packages.
    local part
    for part in config.toml registry/index registry/cache; do
        [ ! -e "$cargo_home/$part" ] || cp -a "$cargo_home/$part" "$place/cargo/$part" || exit
    done
    # rustup keeps toolchains in the home as well, and chooses by folder.
    ! have rustup || chosen=(RUSTUP_HOME="$(rustup show home)" RUSTUP_TOOLCHAIN="$(cd "$PROJECT" && rustup show active-toolchain | cut -d ' ' -f 1)")
    say "building in $place"
    env -u XDG_CACHE_HOME HOME="$place/home" CARGO_HOME="$place/cargo" SMOLVM_CACHE_DIR="$place/cache" "${chosen[@]}" \
        "$place/checkout/scripts/build-guest-agent.sh" "$arch"
}

main "$@"
