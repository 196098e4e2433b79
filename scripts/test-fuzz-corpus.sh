#!/usr/bin/env bash
# The committed corpus of fuzz/, fed to its targets as plain tests; see usage below.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib/environment.sh"
. "$PROJECT/scripts/lib/arguments.sh"

usage() {
    cat <<'USAGE'
Usage: scripts/test-fuzz-corpus.sh

Checks fuzz/ as the workspace is checked (its format and its lints; it is a workspace of its own), and feeds each target the inputs in
fuzz/corpus. No fuzzer is needed, and none is run: scripts/fuzz does that.
USAGE
}

main() {
    take_words "$@"
    [ ${#WORDS[@]} = 0 ] || die 2 "no argument is taken; see --help"
    require_rust
    cd "$PROJECT/fuzz"
    # Crates that both workspaces have are compiled once.
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PROJECT/target}
    cargo fmt --all --check
    cargo clippy --quiet --locked --workspace --all-targets -- -D warnings
    cargo test --quiet --locked
}

main "$@"
