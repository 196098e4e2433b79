#!/usr/bin/env bash
# What the ssh image takes from Debian's packages, unpacked in the cache: the ssh server and the libraries that it needs.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib/environment.sh"
. "$PROJECT/scripts/lib/arguments.sh"
. "$PROJECT/scripts/lib/debian-packages.sh"

usage() {
    cat <<USAGE
usage: scripts/fetch-ssh-packages.sh <x86_64|aarch64>

Prints the path of a folder for 'smolctl image build --packages' on standard output.
For newer packages of the suite, remove the folder.
USAGE
}

PACKAGES=(dropbear-bin openssh-sftp-server libc6 libcrypt1 libgmp10 libtomcrypt1 libtommath1 zlib1g)

main() {
    local arch folder
    take_words "$@"
    [ ${#WORDS[@]} = 1 ] || die 2 "one architecture is needed: x86_64 or aarch64"
    arch=$(debian_arch "${WORDS[0]}") || exit

    folder=$CACHE/ssh-packages/$SSH_PACKAGES_SUITE-${WORDS[0]}
    if [ ! -d "$folder" ]; then
        mkdir -p "$CACHE/ssh-packages"
        (
            flock 9
            [ -d "$folder" ] || fetch "$arch" "$folder"
        ) 9>"$folder.lock" || exit
    fi
    echo "$folder"
}

# The folder appears whole or not at all.
fetch() {
    local arch=$1 folder=$2 package deb unpacked
    unpacked=$(mktemp -d "$folder.new-XXXXXX") || exit
    # shellcheck disable=SC2064 # the folder as it is now
    trap "rm -rf '$unpacked'" EXIT
    for package in "${PACKAGES[@]}"; do
        deb=$(fetch_deb "$SSH_PACKAGES_SUITE" "$arch" "$package") || exit
        unpack_deb "$deb" "$unpacked" || die 1 "could not unpack $deb"
        delete_deb "$deb"
    done
    mv -T "$unpacked" "$folder" || die 1 "could not leave the packages at $folder"
}

main "$@"
