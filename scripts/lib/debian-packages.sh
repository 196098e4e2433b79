# shellcheck shell=bash
# Sourced after environment.sh by scripts that need a Debian package of another suite or architecture
# than this machine's. Nothing is installed: packages are fetched, verified and unpacked in the cache.
#
#   fetch_deb SUITE ARCH PACKAGE [VERSION] [SHA256]   prints the path of the .deb in $CACHE/debs
#   fetch_deb_closure SUITE ARCH PACKAGE FOLDER       leaves the .debs of it and of all that it depends on in FOLDER
#   deb_dependency SUITE ARCH PACKAGE PATTERN         prints the first dependency that matches an extended regular expression
#   unpack_deb DEB FOLDER [TAR-OPTION…]               unpacks it there, or the members that are named; delete_deb DEB removes it
#   program_from_deb SUITE ARCH PACKAGE MEMBER TARGET  leaves that one program of the package at TARGET, unless it is there
#   debian_arch ARCH                                  x86_64 → amd64, aarch64 → arm64
#
# SUITE is bookworm, trixie, trixie-backports, sid, …; ARCH is Debian's word (amd64, arm64), also for
# packages of architecture all. Without VERSION it is the newest there. All of it works without root,
# but for a machine that knows no mirror of Debian yet (see debian_mirror).
# Each function ends the script by `die` when it fails; in `x=$(fetch_deb …) || exit` that has to be
# written out, since bash takes `set -e` off inside of `$(…)` and the code is then the one `die` gave.
#
# Trust: apt verifies the suite's signature by Debian's own keyring and the package by the suite's hashes; SHA256 pins it on top.
# The system's apt configuration is read (proxies), its sources, lists and caches are left alone. Our lists, some 20 MB a
# suite below $CACHE/apt, only save reading them again: they may be removed at any time.

# debian_arch ARCH: Debian's word for an architecture of ours.
debian_arch() {
    case $1 in
    x86_64) echo amd64 ;;
    aarch64) echo arm64 ;;
    *) die 2 "unknown architecture '$1'; it is x86_64 or aarch64" ;;
    esac
}

# debian_mirror: the address of the mirror of Debian that this machine's apt uses. Elsewhere (Ubuntu) the
# one that the package debootstrap has for its default, so that we need not name any.
debian_mirror() {
    local mirror
    if [ -n "${SMOLVM_DEBIAN_MIRROR:-}" ]; then
        echo "$SMOLVM_DEBIAN_MIRROR"
        return
    fi
    mirror=$(mirror_in_apt_lists)
    if [ -z "$mirror" ] && [ -e /etc/debian_version ]; then
        # A fresh container has sources, but no lists yet.
        as_root apt-get update -qq >&2 || true
        mirror=$(mirror_in_apt_lists)
    fi
    if [ -z "$mirror" ]; then
        install_packages debootstrap
        mirror=$(sed -n 's/^DEF_MIRROR="\(.*\)"$/\1/p' "$(command -v debootstrap || echo /usr/sbin/debootstrap)" | head -n 1)
    fi
    [ -n "$mirror" ] || die 1 "found no mirror of Debian in apt's sources; set SMOLVM_DEBIAN_MIRROR to the address of one"
    echo "$mirror"
}

# The main archive, not security's or a backport's: a codename without a hyphen.
mirror_in_apt_lists() {
    # shellcheck disable=SC2016 # apt's own placeholders
    apt-get indextargets --format '$(ORIGIN)|$(CODENAME)|$(REPO_URI)' 'Created-By: Packages' |
        awk -F'|' '$1 == "Debian" && $2 !~ /-/ { sub("/$", "", $3); print $3; exit }'
}

# debian_keyring: the keys that suites are verified with, from Debian's package of them.
debian_keyring() {
    local keyring
    for keyring in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
        [ ! -r "$keyring" ] || { echo "$keyring"; return; }
    done
    install_packages debian-archive-keyring
    echo /usr/share/keyrings/debian-archive-keyring.gpg
}

# debian_apt SUITE ARCH: prints the path of an apt configuration with lists of its own for that suite, made
# and refreshed at most once in a run of a script. Its callers hold lock_debian.
debian_apt() {
    local suite=$1 arch=$2 folder=$CACHE/apt/$1-$2 mirror keyring
    if [ ! -e "$folder/refreshed-by-$$" ]; then
        mirror=$(debian_mirror) || exit
        keyring=$(debian_keyring) || exit
        rm -f "$folder"/refreshed-by-*
        mkdir -p "$folder/lists/partial" "$folder/archives/partial" "$folder/sources.d"
        : >"$folder/status"
        printf 'deb [arch=%s signed-by=%s] %s %s main\n' "$arch" "$keyring" "$mirror" "$suite" >"$folder/sources.list"
        cat >"$folder/apt.conf" <<CONF
#clear APT::Architectures;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Architecture "$arch";
APT::Architectures { "$arch"; };
// As root, apt would become the user _apt, which may not enter a cache in somebody's home.
APT::Sandbox::User "root";
Dir::State "$folder";
Dir::State::lists "$folder/lists";
Dir::State::status "$folder/status";
Dir::Cache "$folder";
Dir::Cache::archives "$folder/archives";
Dir::Etc::sourcelist "$folder/sources.list";
Dir::Etc::sourceparts "$folder/sources.d";
Acquire::Languages "none";
Acquire::GzipIndexes "true";
// Targets that others asked for in this system's configuration; a mirror in the middle of a sync fails on them.
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-small::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-hidpi::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-large::DefaultEnabled "false";
Acquire::IndexTargets::deb::DEP-11-icons-large-hidpi::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-udeb::DefaultEnabled "false";
CONF
        say "reading the package list of Debian $suite ($arch)"
        apt-get -c "$folder/apt.conf" update -qq --error-on=any >&2 ||
            die 1 "could not read the package list of Debian $suite ($arch); see apt's messages above"
        : >"$folder/refreshed-by-$$"
    fi
    echo "$folder/apt.conf"
}

# lock_debian COMMAND…: one apt of ours at a time, whichever script it is.
lock_debian() {
    (
        flock 8
        "$@"
    ) 8>"$CACHE/debian.lock"
}

fetch_deb() {
    have apt-get dpkg-deb flock || die 2 "apt-get, dpkg-deb and flock are needed to fetch Debian's package '$3'; use Debian or Ubuntu"
    lock_debian fetch_deb_locked "$@"
}

fetch_deb_locked() {
    local suite=$1 arch=$2 package=$3 version=${4:-} sha256=${5:-} config found new
    mkdir -p "$CACHE/debs"
    if [ -n "$version" ]; then
        # The file's name has the colon of an epoch as %3a, as apt writes it.
        for found in "$CACHE/debs/${package}_${version//:/%3a}_"{"$arch",all}.deb; do
            if [ -e "$found" ]; then
                check_deb "$found" "$sha256"
                echo "$found"
                return
            fi
        done
    fi
    config=$(debian_apt "$suite" "$arch") || exit
    new=$(mktemp -d "$CACHE/debs/.fetch-XXXXXX")
    say "fetching Debian's $package${version:+ $version} ($suite, $arch)"
    (cd "$new" && apt-get -c "$config" download -qq "$package${version:+=$version}" >&2) || {
        rm -rf "$new"
        die 1 "could not fetch $package${version:+ $version} of Debian $suite ($arch); see apt's messages above"
    }
    found=$(cd "$new" && echo *.deb)
    mv -f "$new/$found" "$CACHE/debs/$found"
    rm -rf "$new"
    check_deb "$CACHE/debs/$found" "$sha256"
    echo "$CACHE/debs/$found"
}

# A pinned package that differs is no longer the one that was looked at: refused, and not left to be found again.
check_deb() {
    local deb=$1 sha256=$2
    [ -z "$sha256" ] || printf '%s  %s\n' "$sha256" "$deb" | sha256sum --check --status || {
        rm -f "$deb"
        die 1 "$(basename "$deb") does not have the pinned sha256 $sha256"
    }
}

fetch_deb_closure() {
    have apt-get dpkg-deb flock || die 2 "apt-get, dpkg-deb and flock are needed to fetch Debian's package '$3'; use Debian or Ubuntu"
    lock_debian fetch_deb_closure_locked "$@"
}

# The status file of that configuration is empty, so nothing counts as installed.
fetch_deb_closure_locked() {
    local config
    config=$(debian_apt "$1" "$2") || exit
    mkdir -p "$4/partial"
    apt-get -c "$config" -o "Dir::Cache::archives=$4" -o APT::Install-Recommends=false --download-only --yes -qq \
        install "$3" >&2 || die 1 "could not fetch $3 of Debian $1 ($2) and what it depends on; see apt's messages above"
    rm -rf "$4/partial" "$4/lock"
}

deb_dependency() {
    have apt-get apt-cache flock || die 2 "apt-get, apt-cache and flock are needed to look up Debian's package '$3'; use Debian or Ubuntu"
    lock_debian deb_dependency_locked "$@"
}

deb_dependency_locked() {
    local config found
    config=$(debian_apt "$1" "$2") || exit
    found=$(apt-cache -c "$config" depends --no-recommends --no-suggests "$3" |
        sed -n 's/^[ |]*Depends: //p' | grep -E -m 1 -- "$4") ||
        die 1 "Debian's package $3 ($1, $2) has no dependency like '$4'"
    echo "$found"
}

# Extra words go to tar: members, --strip-components=N.
unpack_deb() {
    local deb=$1 folder=$2
    shift 2
    mkdir -p "$folder"
    dpkg-deb --fsys-tarfile "$deb" | tar -x --no-same-owner -C "$folder" "$@"
}

delete_deb() { rm -f -- "$1"; }

# TARGET appears whole or not at all; concurrent callers wait for the first.
program_from_deb() {
    local suite=$1 arch=$2 package=$3 member=$4 target=$5 deb unpacked
    [ ! -x "$target" ] || return 0
    mkdir -p "$(dirname -- "$target")"
    (
        flock 9
        [ ! -x "$target" ] || exit 0
        deb=$(fetch_deb "$suite" "$arch" "$package") || exit
        unpacked=$(mktemp -d "$target.new-XXXXXX") || exit
        # shellcheck disable=SC2064 # the folder as it is now
        trap "rm -rf '$unpacked'" EXIT
        unpack_deb "$deb" "$unpacked" "$member" || die 1 "could not unpack $member of $deb"
        mv -f "$unpacked/$member" "$target"
        delete_deb "$deb"
    ) 9>"$target.lock" || exit
}
