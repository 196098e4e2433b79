# shellcheck shell=bash
# Sourced by scripts that are a runner of cases themselves. PASSED, FAILED and FOLDER, a temporary one, are the caller's.
#
# holds WHAT COMMAND…   a case of its own; what it says is shown where it fails

holds() {
    local what=$1
    shift
    if "$@" >"$FOLDER/told" 2>&1; then
        PASSED=$((PASSED + 1))
        echo "passed  $what"
    else
        FAILED=$((FAILED + 1))
        echo "FAILED  $what:"
        cat "$FOLDER/told"
    fi
}
