# shellcheck shell=bash
# Sourced by scripts/test: runs steps one after another and adds up what their runners counted.

LOGS=$PROJECT/target/test-logs
mkdir -p "$LOGS"
# No step takes half of this, unless it says so; one that hangs must not take all the time there is.
STEP_SECONDS=900
PASSED=0 FAILED=0 SKIPPED=0
# A step that ends by itself on Ctrl-C must not make way for the next one.
trap 'exit 130' INT
trap 'exit 143' TERM
FAILED_STEPS=() FAILURES=()

# step NAME COMMAND…: runs one step; its output is shown when it fails, else only its last line.
step() {
    local name=$1 log=$LOGS/$1.log started=$SECONDS status=0 counts passed failed skipped closing_lines failure
    shift
    say "── $name: $*"
    timeout --kill-after=30 "$STEP_SECONDS" "$@" >"$log" 2>&1 </dev/null || status=$?
    [ "$status" != 124 ] || echo "ended after $STEP_SECONDS s without a result" >>"$log"
    counts=$(counts_of "$log")
    read -r passed failed skipped closing_lines <<<"$counts"
    if [ "$closing_lines" = 0 ]; then
        [ "$status" = 0 ] && passed=1 || failed=1
    elif [ "$((passed + failed + skipped))" = 0 ]; then
        say "   $name: its runner ran no test"
        failed=1
    elif [ "$status" != 0 ] && [ "$failed" = 0 ]; then
        failed=1
    fi
    PASSED=$((PASSED + passed)) FAILED=$((FAILED + failed)) SKIPPED=$((SKIPPED + skipped))
    if [ "$status" != 0 ] || [ "$failed" != 0 ]; then
        FAILED_STEPS+=("$name")
        [ "$status" != 124 ] || FAILURES+=("$name: ended after $STEP_SECONDS s without a result")
        while read -r failure; do FAILURES+=("$name: $failure"); done < <(failures_of "$log")
        tail -n 200 "$log" >&2
    fi
    grep -aE '^SKIPPED|^(test )?skipped, because' "$log" >&2 || true
    say "   $name: $passed passed, $failed failed, $skipped skipped, exit $status, $((SECONDS - started)) s"
}

# counts_of LOG: "passed failed skipped LINES", summed over the closing lines of every runner in it, and their number.
counts_of() {
    awk '
        # cargo test: test result: ok. 33 passed; 0 failed; 0 ignored; …
        # cargo test counts it as passed.
        /^test skipped, because / { passed--; skipped++; next }
        /^test result: / { lines++; passed += $4; failed += $6; skipped += $8; next }
        # pytest: ==== 2 failed, 81 passed, 3 skipped in 4.20s ====, or the same without a frame (-q)
        /(passed|failed|skipped|errors?|deselected|no tests ran).* in [0-9.]+s( \([0-9:]+\))?( =+)?$/ {
            lines++
            gsub(/=|,/, "")
            for (i = 1; i < NF; i++) {
                if ($(i + 1) == "passed") passed += $i
                if ($(i + 1) ~ /^(failed|errors?)$/) failed += $i
                if ($(i + 1) ~ /^(skipped|xfailed)$/) skipped += $i
            }
            next
        }
        # ours: 12 passed, 0 failed, 1 skipped
        /^[0-9]+ passed, [0-9]+ failed(, [0-9]+ skipped)?$/ { lines++; passed += $1; failed += $3; skipped += $5 }
        END { print passed + 0, failed + 0, skipped + 0, lines + 0 }
    ' "$1"
}

# failures_of LOG: what failed, by name, a line each; said once more at the end, where a long log's reader looks first.
failures_of() {
    awk '
        # pytest and ours: FAILED test_a.py::test_b - why, FAILED  case: why
        /^(FAILED|BROKEN:|ERROR) +[^ ]/ && !/^ERROR  / { failure(substr($0, 1, 300)); next }
        # cargo test: a list behind the second of two headings; those of documentation have spaces in them
        /^failures:$/ { listed = 1; next }
        listed && /^    [^ ]/ { failure(substr($0, 5)); next }
        { listed = 0 }
        function failure(text) { if (++count <= 20) print text }
        END { if (count > 20) print count - 20 " more" }
    ' "$1"
}

# finish_steps: the closing line, and the exit code.
finish_steps() {
    [ ${#FAILURES[@]} = 0 ] || printf 'failed in %s\n' "${FAILURES[@]}" >&2
    [ ${#FAILED_STEPS[@]} = 0 ] || say "failed: ${FAILED_STEPS[*]} (logs in target/test-logs)"
    say "took $((SECONDS / 60)) min $((SECONDS % 60)) s"
    printf '%s passed, %s failed, %s skipped\n' "$PASSED" "$FAILED" "$SKIPPED"
    [ "$FAILED" = 0 ]
    exit
}
