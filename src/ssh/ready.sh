# Says that the guest can be talked to. $1-$2: what marks the lines that are for the host.
printf '%s\n' "$1-$2" "$1-$2 0" >&2
