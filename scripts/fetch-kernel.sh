#!/usr/bin/env bash
# Debian's cloud kernel and its modules, unpacked in the cache for images and tests. The real package is looked up from the
# meta-package once, as its version moves on the mirror; what is in the cache stays until its folder is removed.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib/environment.sh"
. "$PROJECT/scripts/lib/arguments.sh"
. "$PROJECT/scripts/lib/debian-packages.sh"

usage() {
    cat <<USAGE
usage: scripts/fetch-kernel.sh <x86_64|aarch64> <6.1|6.12>

Fetches Debian's cloud kernel of that series (6.1 is bookworm's, 6.12 is trixie's).
Prints kernel=PATH and modules=PATH (…/lib/modules/VERSION) on standard output.
For a newer one of the series, remove $CACHE/kernels/ARCH-SERIES.
USAGE
}

main() {
    local suite arch folder
    take_words "$@"
    [ ${#WORDS[@]} = 2 ] || die 2 "an architecture and a kernel series are needed, and nothing else: <x86_64|aarch64> <6.1|6.12>"
    arch=$(debian_arch "${WORDS[0]}") || exit
    case ${WORDS[1]} in
    6.1) suite=$KERNEL_6_1_SUITE ;;
    6.12) suite=$KERNEL_6_12_SUITE ;;
    *) die 2 "unknown kernel series '${WORDS[1]}'; it is 6.1 or 6.12" ;;
    esac

    folder=$CACHE/kernels/${WORDS[0]}-${WORDS[1]}
    if [ ! -d "$folder" ]; then
        mkdir -p "$CACHE/kernels"
        (
            flock 9
            [ -d "$folder" ] || fetch "$suite" "$arch" "${WORDS[1]}" "$folder"
        ) 9>"$folder.lock" || exit
    fi
    echo "kernel=$(only "$folder"/vmlinuz-*)"
    echo "modules=$(only "$folder"/lib/modules/*)"
}

fetch() {
    local suite=$1 arch=$2 series=$3 folder=$4 package deb unpacked modules
    # The name's own dot after the series keeps a suite that has moved on to 6.19 from passing for 6.1.
    package=$(deb_dependency "$suite" "$arch" "linux-image-cloud-$arch" "^linux-image-${series//./\\.}\\..*-cloud-$arch\$") || exit
    deb=$(fetch_deb "$suite" "$arch" "$package") || exit
    unpacked=$(mktemp -d "$folder.new-XXXXXX") || exit
    # shellcheck disable=SC2064 # the folder as it is now
    trap "rm -rf '$unpacked'" EXIT
    unpack_deb "$deb" "$unpacked" || die 1 "could not unpack $deb"
    # Packages of merged-/usr suites have their modules below usr/.
    modules=$unpacked/usr/lib/modules
    [ -d "$modules" ] || modules=$unpacked/lib/modules
    mkdir -p "$unpacked/kept/lib"
    if ! mv "$unpacked"/boot/vmlinuz-* "$unpacked/kept/" || ! mv "$modules" "$unpacked/kept/lib/" || ! mv -T "$unpacked/kept" "$folder"; then
        die 1 "$package has no kernel or no modules where they were expected, or $CACHE is full"
    fi
    delete_deb "$deb"
}

# only PATH…: that path, where the pattern fitted exactly one.
only() {
    if [ $# != 1 ] || [ ! -e "$1" ]; then
        die 1 "$1 is not the one file that the cache should have there; remove $CACHE/kernels and try again"
    fi
    echo "$1"
}

main "$@"
