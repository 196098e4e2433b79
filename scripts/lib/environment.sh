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
mkdir -p "$CACHE"

# say WORDS…: one line of progress, for people.
say() { printf '%s\n' "$*" >&2; }

# die CODE WORDS…: one sentence that says what was wrong and what to do; 2 is a wrong call or a missing tool, 1 a failure.
die() {
    local code=$1
    shift
    printf '%s: %s\n' "$(basename -- "$0")" "$*" >&2
    exit "$code"
}

# have TOOL…: whether every one of them is on the PATH.
have() {
    local tool
    for tool in "$@"; do
        command -v -- "$tool" >/dev/null 2>&1 || return 1
    done
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
