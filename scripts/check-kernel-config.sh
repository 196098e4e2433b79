#!/usr/bin/env bash
# Whether the lean kernel's fragments hold on the sources that they are for; see usage below.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib/environment.sh"
. "$PROJECT/scripts/lib/debian-packages.sh"

usage() {
    cat <<USAGE
Usage: scripts/check-kernel-config.sh [x86_64 | aarch64]...      (default: both)

Makes the whole configuration of nix/kernel/*.config by Kconfig of Debian's Linux $KERNEL_SOURCE_SERIES, as the kernel's build does,
and fails where a line asks for something else than comes out: an option that was renamed or removed, whose
dependencies are off, or that something else selects. Nothing is compiled but Kconfig.
For newer sources of the series, remove $CACHE/kernel-sources.
USAGE
}

main() {
    local word archs=()
    for word in "$@"; do
        case $word in
        -h | --help) usage; return ;;
        x86_64 | aarch64) archs+=("$word") ;;
        *) die 2 "unknown argument '$word'; it is x86_64 or aarch64" ;;
        esac
    done
    [ ${#archs[@]} -gt 0 ] || archs=(x86_64 aarch64)
    provide_tools "${archs[@]}"
    provide_sources
    FOLDER=$(mktemp -d)
    trap 'rm -rf "$FOLDER"' EXIT
    known_options >"$FOLDER/known"
    PASSED=0 FAILED=0
    for word in "${archs[@]}"; do
        check "$word"
    done
    echo "$PASSED passed, $FAILED failed, 0 skipped"
    [ "$FAILED" = 0 ]
}

# Kconfig asks the compiler, the assembler and the linker of the kernel's architecture what they can do.
provide_tools() {
    local arch packages=()
    have make || packages+=(make)
    have gcc || packages+=(gcc libc6-dev)
    have flex || packages+=(flex)
    have bison || packages+=(bison)
    have xz || packages+=(xz-utils)
    for arch in "$@"; do
        have "$(prefix "$arch")gcc" || packages+=("gcc-${arch//_/-}-linux-gnu")
    done
    [ ${#packages[@]} = 0 ] || install_packages "${packages[@]}"
}

# prefix ARCH: what the names of its compiler and linker begin with; nothing for this machine's own.
prefix() { [ "$1" = "$(uname -m)" ] || echo "$1-linux-gnu-"; }

# Sets SOURCES and VERSION. Of 80,000 files, those are kept that Kconfig reads.
provide_sources() {
    SOURCES=$CACHE/kernel-sources/$KERNEL_SOURCE_SUITE-$KERNEL_SOURCE_SERIES
    if [ ! -d "$SOURCES" ]; then
        mkdir -p "$CACHE/kernel-sources"
        (
            flock 9
            [ -d "$SOURCES" ] || fetch_sources
        ) 9>"$SOURCES.lock" || exit
    fi
    VERSION=$(sed -n 's/^\(VERSION\|PATCHLEVEL\|SUBLEVEL\) = //p' "$SOURCES/Makefile" | paste -sd.)
}

fetch_sources() {
    local package=linux-source-$KERNEL_SOURCE_SERIES arch deb unpacked
    arch=$(debian_arch "$(uname -m)") || exit
    deb=$(fetch_deb "$KERNEL_SOURCE_SUITE" "$arch" "$package") || exit
    unpacked=$(mktemp -d "$SOURCES.new-XXXXXX") || exit
    # shellcheck disable=SC2064 # the folder as it is now
    trap "rm -rf '$unpacked'" EXIT
    say "unpacking what Kconfig reads of $(basename "$deb")"
    dpkg-deb --fsys-tarfile "$deb" | tar -xO "./usr/src/$package.tar.xz" | xz -dc |
        tar -x --no-same-owner --strip-components=1 -C "$unpacked" --wildcards '*/Kconfig*' '*/Makefile*' "$package/scripts/*" ||
        die 1 "could not unpack $deb, or $CACHE is full"
    mv -T "$unpacked" "$SOURCES"
    delete_deb "$deb"
}

# known_options: the name of every option of these sources, whatever its architecture.
known_options() {
    find "$SOURCES" -name 'Kconfig*' -exec sed -n 's/^[[:space:]]*\(menu\)\{0,1\}config[[:space:]]\{1,\}\([A-Za-z0-9_]*\).*/CONFIG_\2/p' {} +
}

check() {
    local arch=$1
    make_configuration "$arch"
    differences "$FOLDER/$arch.asked" "$FOLDER/$arch.config" >"$FOLDER/$arch.differences"
    # Kconfig passes over a line that it cannot read, or that a later one overrides.
    sed -n "s|^.*$arch\.asked:\([0-9]*\):warning: |line \1 of common.config and $arch.config together: |p" "$FOLDER/$arch.log" >>"$FOLDER/$arch.differences"
    if [ -s "$FOLDER/$arch.differences" ]; then
        FAILED=$((FAILED + 1))
        sed "s/^/FAILED  $arch: /" "$FOLDER/$arch.differences"
    else
        PASSED=$((PASSED + 1))
        echo "passed  $arch: $(grep -cE "^(# )?CONFIG_" "$FOLDER/$arch.asked") options are as they are asked for, in Linux $VERSION"
    fi
}

# make_configuration ARCH: the command that common.config tells, and that the kernel's build has.
make_configuration() {
    local arch=$1 cross
    cross=$(prefix "$arch")
    cat "$PROJECT/nix/kernel/common.config" "$PROJECT/nix/kernel/$arch.config" >"$FOLDER/$arch.asked"
    make -s -C "$SOURCES" O="$FOLDER" ARCH="${arch/aarch64/arm64}" CROSS_COMPILE="$cross" KCONFIG_CONFIG="$FOLDER/$arch.config" \
        KCONFIG_ALLCONFIG="$FOLDER/$arch.asked" alldefconfig >"$FOLDER/$arch.log" 2>&1 || {
        cat "$FOLDER/$arch.log" >&2
        die 1 "Kconfig of Linux $VERSION failed for $arch; see make's messages above"
    }
}

# differences ASKED CONFIGURATION: a sentence for each line of ASKED that is not so.
differences() {
    awk -v version="$VERSION" '
        function name_of(line) { sub(/^# /, "", line); sub(/[= ].*/, "", line); return line }
        function value_of(line) { return line ~ /^#/ ? "n" : substr(line, index(line, "=") + 1) }
        !/^CONFIG_[A-Za-z0-9_]+(=|$)/ && !/^# CONFIG_[A-Za-z0-9_]+ is not set$/ { next }
        { name = name_of($0) }
        FILENAME ~ /\/known$/ { known[name] = 1; next }
        FILENAME == ARGV[2] { value[name] = value_of($0); next }
        {
            asked = name "=" value_of($0) " asked for, "
            got = name in value ? value[name] : "n"
            if (!(name in known)) print asked "unknown: Linux " version " has no such option; look for its new name, or take the line out"
            else if (got == value_of($0)) next
            else if (!(name in value)) print asked "absent: something that it depends on is off, or not on this architecture"
            else print asked "got " got ": something else selects it, or decides over it"
        }
    ' "$FOLDER/known" "$2" "$1"
}

main "$@"
