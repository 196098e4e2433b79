# shellcheck shell=bash
# Sourced after environment.sh by scripts that take words and no option but --help, which shows their usage.

# take_words ARGUMENT…: sets WORDS to them.
take_words() {
    local argument
    WORDS=()
    for argument in "$@"; do
        case $argument in
        -h | --help) usage; exit 0 ;;
        -*) die 2 "unknown argument '$argument'; see --help" ;;
        *) WORDS+=("$argument") ;;
        esac
    done
}
