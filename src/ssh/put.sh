# Stores standard input, with put_file's rules. $1-$2: what marks the lines that are for the host; $3: the path; $4: the name
# within it where it is a directory; $5: the mode in octal, or nothing; $6: the size in bytes.
mark=$1-$2
end() {
    printf '%s %s\n' "$mark" "$1" >&2
    exit 0
}
refuse() {
    printf '%s' "$1" >&2
    end refused
}
printf '%s\n' "$mark" >&2
path=$3 name=$4 mode=$5 size=$6
while [ "$path" != "${path%/}" ] && [ -n "${path%/}" ]; do path=${path%/}; done
case $path in /*) ;; *) path=./$path ;; esac
if [ -d "$path" ]; then
    case $name in
    '') refuse "destination is a directory and no filename was provided: $3" ;;
    . | ..) refuse "destination filename is invalid: $name (cannot be '.' or '..')" ;;
    esac
    path=${path%/}/$name
    [ ! -d "$path" ] || refuse "cannot create file: $path is a directory"
fi
part=${path%/*}/.smolvm-put-$2
trap 'rm -f "$part"; exit 1' HUP INT TERM PIPE
fail() {
    rm -f "$part"
    end refused
}
umask 077
# Nothing that is there already is written to, and what is made is not looked up by its name again where
# there is a /proc: whose folder it is may put a link in its place.
set -C
{
    held=/proc/self/fd/3
    [ -e "$held" ] || held=$part
    cat >&3 || fail
    bytes=$(wc -c <"$held") || fail
    if [ "$((bytes))" != "$size" ]; then
        printf '%s' "only $((bytes)) of $size bytes arrived" >&2
        fail
    fi
    [ -z "$mode" ] || chmod "$mode" "$held" || fail
} 3>"$part" || fail
mv -f "$part" "$path" || fail
end 0
