# shellcheck shell=bash
# Sourced after environment.sh and debian-packages.sh by who measures beside ssh servers. They are Debian's, unpacked in the
# cache, each with its own C library and loader, so that no server is installed, started or left listening on this machine.
#
# bring_openssh_server   sets SSHD: the machine's own where there is one, else the one in the cache
# bring_dropbear         sets DROPBEAR; dropbearkey, which makes its host keys, is beside it
# Both run in a subshell of the caller's, which prints what was set: what cannot be had ends that alone.

OPENSSH_PACKAGES=(openssh-server libaudit1 libc6 libcap-ng0 libcom-err2 libcrypt1 libgssapi-krb5-2 libk5crypto3 libkeyutils1
    libkrb5-3 libkrb5support0 libnsl2 libpam0g libpcre2-8-0 libselinux1 libssl3t64 libtirpc3t64 libwrap0 libwtmpdb0 libsystemd0
    libcap2 libzstd1 zlib1g)

bring_openssh_server() {
    local folder
    for SSHD in /usr/sbin/sshd /usr/bin/sshd; do
        [ ! -x "$SSHD" ] || return 0
    done
    folder=$CACHE/openssh-server-$SSH_PACKAGES_SUITE-$(uname -m)
    SSHD=$folder/usr/sbin/sshd
    (
        flock 9
        [ -x "$SSHD" ] || unpack_openssh "$folder"
    ) 9>"$folder.lock" || exit
}

# The folder appears whole or not at all, and is written for its final place.
unpack_openssh() {
    local folder=$1 arch package deb new
    arch=$(debian_arch "$(uname -m)") || exit
    new=$(mktemp -d "$folder.new-XXXXXX") || exit
    # shellcheck disable=SC2064 # the folder as it is now
    trap "rm -rf '$new'" EXIT
    for package in "${OPENSSH_PACKAGES[@]}"; do
        deb=$(fetch_deb "$SSH_PACKAGES_SUITE" "$arch" "$package") || exit
        unpack_deb "$deb" "$new" || die 1 "could not unpack $deb"
        delete_deb "$deb"
    done
    bind_to_libraries "$folder" "$new"/usr/sbin/sshd "$new"/usr/lib/openssh/sshd-*
    mv -T "$new" "$folder" || die 1 "could not leave the ssh server at $folder"
}

bring_dropbear() {
    local packages folder new
    packages=$("$PROJECT/scripts/fetch-ssh-packages.sh" "$(uname -m)" | tail -n 1) || exit
    folder=$packages-native
    DROPBEAR=$folder/dropbear
    (
        flock 9
        [ ! -x "$DROPBEAR" ] || exit 0
        new=$(mktemp -d "$folder.new-XXXXXX") || exit
        # shellcheck disable=SC2064 # the folder as it is now
        trap "rm -rf '$new'" EXIT
        cp "$packages/usr/sbin/dropbear" "$packages/usr/bin/dropbearkey" "$new"
        bind_to_libraries "$packages" "$new"/*
        mv -T "$new" "$folder" || die 1 "could not leave dropbear at $folder"
    ) 9>"$folder.lock" || exit
}

# bind_to_libraries FOLDER PROGRAM…: has programs run by the loader and the libraries that are, or will be, below a folder. They
# execute themselves anew for each connection, so that calling the loader by hand would not do.
bind_to_libraries() {
    local machine libraries loader
    machine=$(uname -m)
    libraries=$1/usr/lib/$machine-linux-gnu
    case $machine in x86_64) loader=ld-linux-x86-64.so.2 ;; *) loader=ld-linux-aarch64.so.1 ;; esac
    shift
    have patchelf || install_packages patchelf
    patchelf --set-interpreter "$libraries/$loader" --force-rpath --set-rpath "$libraries" "$@" ||
        die 1 "patchelf could not point ${*##*/} at its libraries"
}
