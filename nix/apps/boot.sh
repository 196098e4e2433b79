# The words are the guest's shell's: quoted as they were given, they reach the command as they are.
line=uname\ -a
if [ $# -gt 0 ]; then line=$(printf '%q ' "$@"); fi
vm=nix-run-$$
log=$(mktemp)
end() {
    smolctl vm rm --force "$vm" >/dev/null 2>&1 || true
    rm -f "$log"
}
trap end EXIT
# What a start tells is of interest only where it fails.
if ! smolctl vm start --image "$image" --name "$vm" >"$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
smolctl run "$vm" --shell raw -c "$line"
