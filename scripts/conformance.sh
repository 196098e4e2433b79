#!/bin/bash
# Runs the conformance suite against one agent after the other, and ends with pytest's summary.
#
# usage: scripts/conformance.sh [--quick] AGENT… [-- PYTEST-ARGUMENT…]
#   x86_64, aarch64   our agent as shipped; one of another architecture than this machine's under qemu-user
#   oracle            the published Python agent, which tells how hosts in the field are answered today
#   vm:SOCKET         the agent in a booted VM behind that Unix socket: the published host's cases alone
#   program:PATH      another build of our agent
#   --quick           leave out what waits for time limits of 5 seconds and more
#
# What is downloaded goes to the cache, never into the tree. Exit code: pytest's, the first that is not 0; 2 for a wrong call.
# shellcheck source=lib/environment.sh
. "$(dirname -- "$0")/lib/environment.sh"

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

# pytest_environment: makes the virtual environment once for each Python and each set of pins; tells its folder.
pytest_environment() {
    local requirements=$PROJECT/tests/conformance/requirements.txt version folder
    version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2] if sys.version_info >= (3, 11) else "")') ||
        die 2 "python3 does not run; install Python 3.11 or later"
    [ -n "$version" ] || die 2 "python3 is older than 3.11, which the suite needs; install a later one"
    folder=$CACHE/conformance-py$version-$(sha256sum "$requirements" | cut -c1-12)
    (
        flock 9
        [ ! -e "$folder/complete" ] || exit 0
        say "installing pytest"
        rm -rf "$folder"
        if ! python3 -c 'import ensurepip' 2>/dev/null; then
            install_packages python3-venv || exit 1
        fi
        # Each by hand: within a list, as here, bash does not end at the first that fails.
        python3 -m venv "$folder" >&2 || exit 1
        "$folder/bin/pip" --quiet --disable-pip-version-check install --no-deps --require-hashes --only-binary :all: -r "$requirements" >&2 || exit 1
        touch "$folder/complete"
    ) 9>"$CACHE/conformance.lock" || die 1 "could not install pytest; see pip's messages above"
    printf '%s\n' "$folder"
}

# published_wheel PIP: downloads the published package once, its hash checked; tells its path.
published_wheel() {
    local folder=$CACHE/published wheel
    wheel=$folder/smolvm-$PUBLISHED_SMOLVM_VERSION-py3-none-any.whl
    (
        flock 9
        if ! printf '%s  %s\n' "$PUBLISHED_SMOLVM_SHA256" "$wheel" | sha256sum --quiet --check >/dev/null 2>&1; then
            say "downloading the published agent and host, smolvm $PUBLISHED_SMOLVM_VERSION"
            mkdir -p "$folder"
            printf 'smolvm==%s --hash=sha256:%s\n' "$PUBLISHED_SMOLVM_VERSION" "$PUBLISHED_SMOLVM_SHA256" >"$folder/requirements.txt"
            "$1" --quiet --disable-pip-version-check download --no-deps --require-hashes --only-binary :all: \
                --dest "$folder" -r "$folder/requirements.txt" >&2
        fi
    ) 9>"$CACHE/published.lock" || die 1 "could not download smolvm $PUBLISHED_SMOLVM_VERSION; see pip's messages above"
    printf '%s\n' "$wheel"
}

environment=$(pytest_environment)
wheel=$(published_wheel "$environment/bin/pip")

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
    cases=$PROJECT/tests/conformance
    case $agent in
    vm:*) cases=$cases/test_published_host.py workers=1 ;;
    esac
    say "conformance: $agent"
    code=0
    PYTHONDONTWRITEBYTECODE=1 "$environment/bin/python" -m pytest "$cases" -q -n "$workers" --maxschedchunk 1 \
        "${quick[@]}" "${arguments[@]}" "$@" || code=$?
    [ "$status" != 0 ] || status=$code
done
exit "$status"
