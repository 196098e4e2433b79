#!/bin/bash
# Has an agent's system calls fail, carry a byte each, and its hosts hang up at any byte; ends with pytest's summary.
#
# usage: scripts/faults.sh [--thorough] [x86_64 | program:PATH] [-- PYTEST-ARGUMENT…]
#   x86_64         our agent as shipped, which is the default
#   program:PATH   another build of our agent
#   --thorough     more calls of a kind and more sizes, for some minutes
#
# The calls are made to fail by a tracer of ours (tests/faults/injector.c), which needs a C compiler. Exit code: pytest's; 2 for
# a wrong call.
# shellcheck source=lib/environment.sh
. "$(dirname -- "$0")/lib/environment.sh"
# shellcheck source=lib/python-environment.sh
. "$PROJECT/scripts/lib/python-environment.sh"

thorough=() agent=x86_64
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) sed -n '2,/^# shellcheck/{/^# shellcheck/d;s/^# \{0,1\}//;p}' "$0" && exit 0 ;;
    --thorough) thorough=(--thorough) ;;
    x86_64 | program:?*) agent=$1 ;;
    --) shift && break ;;
    *) die 2 "unknown argument '$1'; use --thorough, x86_64 or program:PATH" ;;
    esac
    shift
done
[ "$(uname -m)" = x86_64 ] || die 2 "the tracer knows the registers of x86_64, and this is $(uname -m)"
have cc || install_packages gcc libc6-dev

environment=$(python_environment conformance "$PROJECT/tests/conformance/requirements.txt")
case $agent in
program:*) program=${agent#program:} ;;
*) program=$("$PROJECT/scripts/build-guest-agent.sh" "$agent" | tail -n 1) ;;
esac
folder=$(mktemp -d)
# Uploads are synced by the hundred, and behind a slow disk every program waits, the tracer too, whose rules are in a file.
files=$(mktemp -d -p "$(fast_folder)" faults-XXXXXX)
trap 'rm -rf "$folder" "$files"' EXIT
cc -O2 -Wall -Wextra -Werror -o "$folder/injector" "$PROJECT/tests/faults/injector.c" || die 1 "cannot build the tracer; see the messages above"
PYTHONDONTWRITEBYTECODE=1 "$environment/bin/python" -m pytest -c "$PROJECT/tests/faults/pytest.ini" "$PROJECT/tests/faults" -q -n 6 \
    --maxschedchunk 1 --agent "$program" --injector "$folder/injector" --basetemp "$files/t" "${thorough[@]}" "$@"
