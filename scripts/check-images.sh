#!/usr/bin/env bash
# The images' promise: the same bytes from the same inputs. See usage below.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib/environment.sh"
. "$PROJECT/scripts/lib/guest-image.sh"
. "$PROJECT/scripts/lib/cases.sh"

usage() {
    cat <<'USAGE'
Usage: scripts/check-images.sh [x86_64 | aarch64]...      (default: both)

Builds each variant's image, of Debian's kernel 6.12, a second time: in another folder, with other settings of the user's. Then
asks `smolctl image verify` and `image diff`, compares every byte, and has e2fsck look at the root's disk.
USAGE
}

main() {
    local arch variant word archs=()
    for word in "$@"; do
        case $word in
        -h | --help) usage; return ;;
        x86_64 | aarch64) archs+=("$word") ;;
        *) die 2 "unknown argument '$word'; it is x86_64 or aarch64" ;;
        esac
    done
    [ ${#archs[@]} -gt 0 ] || archs=(x86_64 aarch64)
    PASSED=0 FAILED=0
    FOLDER=$(mktemp -d)
    trap 'rm -rf "$FOLDER"' EXIT
    build_smolctl
    for arch in "${archs[@]}"; do
        for variant in minimal disk ssh; do
            check "$arch" "$variant"
        done
    done
    echo "$PASSED passed, $FAILED failed, 0 skipped"
    [ "$FAILED" = 0 ]
}

check() {
    local arch=$1 variant=$2 again="$FOLDER/another folder/$1/$2" name=$2-$1
    build_image "$arch" 6.12 "$variant"
    (
        umask 077
        export TZ=Pacific/Auckland LC_ALL=C.UTF-8 SOURCE_DATE_EPOCH=1 E2FSPROGS_FAKE_TIME=99 TMPDIR="$FOLDER"
        compose_image "$again"
    )
    holds "$name is what its manifest says" "$SMOLCTL" image verify "$IMAGE"
    holds "$name is the same when it is built again" "$SMOLCTL" image diff "$IMAGE" "$again"
    holds "$name has the same bytes in all files" diff -r "$IMAGE" "$again"
    [ ! -e "$IMAGE/root.ext4" ] || holds "$name has a clean disk" env PATH="$PATH:/usr/sbin:/sbin" e2fsck -fn "$IMAGE/root.ext4"
    rm -rf "$again"
}

main "$@"
