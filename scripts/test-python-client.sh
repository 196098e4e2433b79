#!/bin/bash
# Tests the Python client (python/): its style, its types, and its cases against our agent as shipped and peers that are none.
#
# usage: scripts/test-python-client.sh [-- PYTEST-ARGUMENT…]
#
# Exit code: that of the first tool that finds something; 2 for a wrong call.
# shellcheck source=lib/environment.sh
. "$(dirname -- "$0")/lib/environment.sh"
# shellcheck source=lib/python-environment.sh
. "$PROJECT/scripts/lib/python-environment.sh"

case ${1-} in
'') ;;
-h | --help)
    sed -n '2,/^# shellcheck/{/^# shellcheck/d;s/^# \{0,1\}//;p}' "$0"
    exit 0
    ;;
--) shift ;;
*) die 2 "unknown argument '$1'; use nothing, or -- and pytest's arguments" ;;
esac

environment=$(python_environment python-client "$PROJECT/tests/conformance/requirements.txt" "$PROJECT/python/requirements.txt")
agent=$("$PROJECT/scripts/build-guest-agent.sh" "$(uname -m)" | tail -n 1)

cd "$PROJECT/python"
export PYTHONDONTWRITEBYTECODE=1
"$environment/bin/ruff" check --quiet --no-cache .
"$environment/bin/ruff" format --quiet --no-cache --check . || die 1 "the files above are not formatted; run 'ruff format' in python/"
"$environment/bin/python" -m mypy --no-error-summary --cache-dir /dev/null
"$environment/bin/python" -m pytest -c pyproject.toml -q -n 4 "--agent=$agent" "$@" tests
