#!/bin/bash
# Runs the conformance suite against one agent after the other, and ends with pytest's summary.
#
# usage: scripts/conformance.sh [--quick] AGENT… [-- PYTEST-ARGUMENT…]
#   x86_64, aarch64   our agent as shipped; one of another architecture than this machine's under qemu-user
#   oracle            the published Python agent, which tells how hosts in the field are answered today
#   vm:SOCKET         the agent in a booted VM behind that Unix socket: the cases of hosts alone
#   program:PATH      another build of our agent
#   --quick           leave out what waits for time limits of 5 seconds and more
#
# What is downloaded goes to the cache, never into the tree. Exit code: pytest's, the first that is not 0; 2 for a wrong call.
# shellcheck source=lib/environment.sh
. "$(dirname -- "$0")/lib/environment.sh"
# shellcheck source=lib/python-environment.sh
. "$PROJECT/scripts/lib/python-environment.sh"
# shellcheck source=lib/published.sh
. "$PROJECT/scripts/lib/published.sh"

usage() { sed -n '2,/^# shellcheck/{/^# shellcheck/d;s/^# \{0,1\}//;p}' "$0"; }

quick=() chosen=()
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) usage && exit 0 ;;
    --quick) quick=(--quick) ;;
    x86_64 | aarch64 | oracle) chosen+=("$1") ;;
    vm:?* | program:?*) chosen+=("$1") ;;
    --) shift && break ;;
    *) die 2 "unknown agent '$1'; use x86_64, aarch64, oracle, vm:SOCKET or program:PATH" ;;
    esac
    shift
done
[ ${#chosen[@]} -gt 0 ] || die 2 "say which agent: x86_64, aarch64, oracle, vm:SOCKET or program:PATH"

environment=$(python_environment conformance "$PROJECT/tests/conformance/requirements.txt")
wheel=$(published_wheel "$environment/bin/python")

# arguments_for AGENT: sets `arguments` to what tells pytest what to test.
arguments_for() {
    arguments=(--published-host "$wheel")
    local program emulator
    case $1 in
    oracle) arguments+=(--oracle "$wheel") ;;
    vm:*) arguments+=(--vm-uds "${1#vm:}") ;;
    program:*) arguments+=(--agent "${1#program:}") ;;
    *)
        program=$("$PROJECT/scripts/build-guest-agent.sh" "$1" | tail -n 1)
        arguments+=(--agent "$program")
        if [ "$1" != "$(uname -m)" ]; then
            [ "$1" = aarch64 ] || die 2 "$1 on $(uname -m) is not provided for; there is an emulator for aarch64 alone"
            emulator=$("$PROJECT/scripts/fetch-qemu-user.sh" | tail -n 1)
            arguments+=(--runner "$(printf %q "$emulator")")
        fi
        ;;
    esac
}

# Most cases wait more than they work, those for time limits above all: more workers than cores.
workers=8
status=0
for agent in "${chosen[@]}"; do
    arguments_for "$agent"
    cases=("$PROJECT/tests/conformance")
    case $agent in
    vm:*) cases=("$PROJECT"/tests/conformance/{test_hosts,test_hosts_streams,test_smolctl_shell}.py) workers=1 ;;
    esac
    say "conformance: $agent"
    code=0
    PYTHONDONTWRITEBYTECODE=1 "$environment/bin/python" -m pytest "${cases[@]}" -q -n "$workers" --maxschedchunk 1 \
        "${quick[@]}" "${arguments[@]}" "$@" || code=$?
    [ "$status" != 0 ] || status=$code
done
exit "$status"
