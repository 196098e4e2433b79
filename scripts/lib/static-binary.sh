# shellcheck shell=bash
# Sourced after environment.sh. Owns what we promise of a shipped binary's file, read off the file itself.
#
# require_static FILE ARCH   ends the script unless FILE is a stripped, static program of that architecture

require_static() {
    local file=$1 arch=$2 machine headers
    case $arch in
    x86_64) machine='Advanced Micro Devices X86-64' ;;
    aarch64) machine=AArch64 ;;
    esac
    headers=$(LC_ALL=C readelf --wide --file-header --program-headers --dynamic --section-headers -- "$file" 2>/dev/null) ||
        die 1 "$file is no ELF file"
    grep -q "^ *Machine: *$machine\$" <<<"$headers" || die 1 "$file is not built for $arch"
    ! grep -qE '^ *INTERP|\(NEEDED\)' <<<"$headers" || die 1 "$file is not static: it wants a loader or a shared library"
    ! grep -qE ' \.(symtab|debug_info) ' <<<"$headers" || die 1 "$file is not stripped"
    grep -q ' \.eh_frame ' <<<"$headers" || die 1 "$file has no unwind tables: a panic in one connection would end the daemon"
}
