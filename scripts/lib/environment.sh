# shellcheck shell=bash
# Sourced by every script of this project: where things are, how we speak, how Debian packages are
# installed. Owns no policy of its own; reads the pins, writes nothing but the cache folder.
#
# PROJECT      the root of this checkout
# CACHE        downloads and built tools; SMOLVM_CACHE_DIR moves it
# What a script prints on standard output is its result; all else goes to standard error.

set -euo pipefail
umask 022

PROJECT=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/../.." && pwd)
# Services and cron may have no HOME.
if [ -z "${HOME-}" ]; then
    HOME=$(getent passwd "$(id -u)" | cut -d: -f6)
    export HOME
fi
CACHE=${SMOLVM_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/smolvm}
# shellcheck source=../pins.env
. "$PROJECT/scripts/pins.env"
case $CACHE in
/*) ;;
*)
    printf '%s: %s\n' "$(basename -- "$0")" "the cache folder '$CACHE' is no absolute path; set SMOLVM_CACHE_DIR to one" >&2
    exit 2
    ;;
esac
mkdir -p "$CACHE" 2>/dev/null || {
    printf '%s: %s\n' "$(basename -- "$0")" "cannot make the cache folder $CACHE; set SMOLVM_CACHE_DIR to one that can be written" >&2
    exit 2
}

# say WORDS…: one line of progress, for people.
say() { printf '%s\n' "$*" >&2; }

# die CODE WORDS…: one sentence that says what was wrong and what to do; 2 is a wrong call or a missing tool, 1 a failure.
die() {
    local code=$1
    shift
    printf '%s: %s\n' "$(basename -- "$0")" "$*" >&2
    exit "$code"
}

# fast_folder: where files that come and go are kept: in memory where that has room (512 MiB), since a slow disk holds up programs that start.
fast_folder() {
    if [ -w /dev/shm ] && [ "$(df --output=avail -k /dev/shm | tail -n 1)" -gt $((512 * 1024)) ]; then
        echo /dev/shm
    else
        echo "${TMPDIR:-/tmp}"
    fi
}

# have TOOL…: whether every one of them is on the PATH.
have() {
    local tool
    for tool in "$@"; do
        command -v -- "$tool" >/dev/null 2>&1 || return 1
    done
}

# require_rust: a Rust toolchain that can build this workspace (rust-version in Cargo.toml).
require_rust() {
    local version
    have cargo rustc || die 2 "there is no Rust toolchain; install one (rustup.rs), 1.85 or later, and run this again"
    version=$(rustc --version | sed 's/^rustc \([0-9]*\)\.\([0-9]*\).*/\1 \2/')
    [ "${version% *}" -gt 1 ] || [ "${version#* }" -ge 85 ] ||
        die 2 "$(rustc --version) is too old; install Rust 1.85 or later (rustup.rs) and run this again"
}

# as_root COMMAND…: straight away as root, by sudo otherwise.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif have sudo; then
        sudo -- "$@"
    else
        die 2 "root is needed for '$*', and there is no sudo; run this script as root"
    fi
}

# install_packages PACKAGE…: installs those Debian packages that are not there yet, one caller at a time.
install_packages() {
    local package missing=()
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    have apt-get || die 2 "these packages are needed, and this machine has no apt-get to install them: ${missing[*]}"
    say "installing ${missing[*]}"
    (
        flock 9
        as_root apt-get update -qq >&2 || say "apt-get update failed; going on with the package lists that are here"
        as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
            die 1 "could not install ${missing[*]}; see apt-get's messages above"
    ) 9>"$CACHE/apt.lock" || exit
}
