# Gives a file's mode and size, the file, and a mark on the same stream, since the last line of the other one does not
# say whether all of this one has arrived. $1-$2: what marks the lines that are for the host; $3: the path.
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
path=$3
case $path in /*) ;; *) path=./$path ;; esac
[ -e "$path" ] || refuse "no such file or directory: $3"
[ -f "$path" ] || refuse 'not a regular file'
header=$(stat -L -c '%a %s' "$path") || end refused
{
    printf '%s %s\n' "$mark" "$header"
    cat && printf '%s\n' "$mark"
} <"$path" || end refused
end 0
