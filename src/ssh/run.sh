# A command over ssh with the agent's manners: a process group of its own, nothing to read, and an end when the host
# is gone. $1-$2: what marks the lines that are for the host (two words, so that no list of processes shows it);
# $3: login or raw.
# Standard input has the command line and NAME=VALUE in quotes up to a line with the mark, since a list of processes shows
# arguments to everybody. Then it is the lifeline: a line 'kill', or its end, kills the group.
mark=$1-$2 kind=$3
printf '%s\n' "$mark"
printf '%s\n' "$mark" >&2
if ! command -v setsid >/dev/null; then
    printf '%s refused\n' "$mark" >&2
    exit 0
fi
words='' text=''
while IFS= read -r text && [ "$text" != "$mark" ]; do
    words="$words$text
"
done
[ "$text" = "$mark" ] || exit 1
eval "set -- $words"
line=$1
shift
[ $# = 0 ] || set -- env -- "$@"
if [ "$kind" = login ]; then
    set -- "$@" "${SHELL:-/bin/sh}" -lc "$line"
else
    set -- "$@" /bin/sh -c "$line"
fi
# What a shell says of a killed process is not the command's. So its own standard error is nothing, and the command gets
# the real one by a subshell, since dash redirects itself for anything else.
exec 3<&0 4>&2 6>&1 </dev/null 2>/dev/null
{
    # Not by '&', which would have the command ignore SIGINT and SIGQUIT. The leader tells its own number.
    (exec setsid sh -c 'echo $$ >&5; exec "$@" 5>&-' sh "$@") >&6 2>&4 3<&- 4>&- 6>&-
    printf '%s %s\n' "$mark" "$?" >&4
} 5>&1 | {
    read -r leader
    (
        trap '' HUP INT TERM
        while read -r word; do
            [ "$word" != kill ] || break
        done
        kill -9 "-$leader"
    ) <&3 3<&- 4>&- 6>&- &
    watcher=$!
    # Ends once the leader has, and its status is told.
    read -r _
    kill -9 "$watcher"
}
exit 0
