# shellcheck shell=bash
# Sourced after environment.sh. Owns the one place of things whose absolute path ends up in the bytes that
# we ship (the sources of std: cargo hashes their path into every symbol). Neither HOME, CARGO_HOME nor a
# cache home moves it: /var/cache/smolvm, or /var/tmp/smolvm-UID for somebody who cannot become root.
#
# find_fixed NAME            sets FIXED to the folder of that name, where there is one that may be trusted
# place_fixed NAME SCRIPT ARGUMENT…   makes it, where it is missing: bash runs the text SCRIPT, as the folder's owner,
#                            with the arguments and the new folder last; sets FIXED
#
# Trusted is a folder of ours or root's which nobody else may write to, its parent likewise.

FIXED_SHARED=/var/cache/smolvm
FIXED_OWN=/var/tmp/smolvm-$(id -u)

find_fixed() {
    local home
    for home in "$FIXED_OWN" "$FIXED_SHARED"; do
        if [ -d "$home/$1" ]; then
            require_trusted "$home"
            require_trusted "$home/$1"
            FIXED=$home/$1
            return 0
        fi
    done
    return 1
}

require_trusted() {
    local owner mode
    read -r owner mode < <(stat -c '%u %a' -- "$1")
    [ ! -L "$1" ] && { [ "$owner" = 0 ] || [ "$owner" = "$(id -u)" ]; } && [ $((8#$mode & 8#022)) = 0 ] ||
        die 1 "$1 belongs to somebody else or can be written to by others; what lies in it goes into the agent, so remove it and try again"
}

place_fixed() {
    local name=$1 script=$2 home=$FIXED_OWN owner=()
    shift 2
    if [ "$(id -u)" = 0 ]; then
        home=$FIXED_SHARED
    elif [ ! -d "$FIXED_OWN" ] && have sudo && sudo -n true 2>/dev/null; then
        home=$FIXED_SHARED
        owner=(as_root)
    fi
    "${owner[@]}" mkdir -p -m 755 "$home"
    require_trusted "$home"
    (
        flock 9
        [ ! -d "$home/$name" ] || exit 0
        new=$("${owner[@]}" mktemp -d "$home/.$name-XXXXXX")
        # shellcheck disable=SC2064 # the folder as it is now
        trap "${owner[*]} rm -rf '$new'" EXIT
        "${owner[@]}" bash -euo pipefail -c "$script" place_fixed "$@" "$new" >&2 || exit 1
        "${owner[@]}" chmod -R u+rwX,go+rX,go-w "$new"
        "${owner[@]}" mv -T "$new" "$home/$name"
    ) 9<"$home" || return 1
    FIXED=$home/$name
}
