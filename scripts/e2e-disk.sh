#!/usr/bin/env bash
# From somebody's tree to a VM; see usage below.

. "$(dirname -- "${BASH_SOURCE[0]}")/lib/environment.sh"
. "$PROJECT/scripts/lib/arguments.sh"
. "$PROJECT/scripts/lib/guest-image.sh"
. "$PROJECT/scripts/lib/cases.sh"

usage() {
    cat <<'USAGE'
Usage: scripts/e2e-disk.sh x86_64|aarch64

Puts the agent into a tree whose /init starts the Python one, once as it is and once with --replace-init, and boots each as
docs/migrate.md says: `image inject -o NAME.ext4`, then `vm start --disk`, by the disk image of Debian's kernel 6.12.
USAGE
}

main() {
    take_words "$@"
    [ ${#WORDS[@]} = 1 ] || die 2 "one architecture is needed: x86_64 or aarch64"
    local arch=${WORDS[0]} agent
    case $arch in x86_64 | aarch64) ;; *) die 2 "unknown architecture '$arch'; it is x86_64 or aarch64" ;; esac
    PASSED=0 FAILED=0 VM=disk-$arch-$$ STARTED=
    FOLDER=$(mktemp -d)
    trap end EXIT
    trap 'exit 130' INT TERM
    "$PROJECT/scripts/vm-tools.sh" --arch "$arch" >/dev/null
    build_smolctl
    [ -x /usr/sbin/mke2fs ] || have mke2fs || install_packages e2fsprogs
    build_image "$arch" 6.12 disk
    agent=$("$PROJECT/scripts/build-guest-agent.sh" "$arch" | tail -n 1) || exit
    make_tree "$arch" "$FOLDER/tree"
    boot_injected "$agent" its_own_init /bin/busybox
    boot_injected "$agent" our_process_1 /usr/local/bin/smolvm-guest-agent --replace-init
    echo "$PASSED passed, $FAILED failed, 0 skipped"
    [ "$FAILED" = 0 ]
}

# make_tree ARCH FOLDER: busybox, and an /init of the published images' kind, which says nothing on the console.
make_tree() {
    local busybox
    busybox=$("$PROJECT/scripts/fetch-busybox.sh" "$1" | tail -n 1) || exit
    mkdir -p "$2"/{bin,dev,etc,proc,root,run,sys,tmp,usr/local/bin,var/log}
    cp "$busybox" "$2/bin/busybox"
    ln -s busybox "$2/bin/sh"
    cat >"$2/init" <<'INIT'
#!/bin/sh
if command -v python3 >/dev/null 2>&1 && [ -f /usr/local/bin/smolvm-guest-agent ]; then
    python3 /usr/local/bin/smolvm-guest-agent >/var/log/smolvm-agent.log 2>&1 &
fi
while :; do busybox sleep 1000; done
INIT
    chmod 755 "$2/init"
}

# boot_injected AGENT NAME PROCESS-1 OPTIONS…: injects and boots; PROCESS-1 is the program of process 1 then.
boot_injected() {
    local agent=$1 name=$2 process_1=$3 disk=$FOLDER/$2.ext4 before
    shift 3
    "$SMOLCTL" image inject --root "$FOLDER/tree" --agent "$agent" "$@" -o "$disk" >/dev/null 2>&1 ||
        die 1 "the agent could not be put into the tree; run smolctl image inject by hand"
    before=$(sha256sum "$disk")
    STARTED=yes
    holds "tree_with_${name}_is_booted_from_its_disk" "$SMOLCTL" vm start --image "$IMAGE" --disk "$disk" --name "$VM" --timeout 120
    holds "root_with_${name}_is_the_disk" guest 'busybox grep -q "^/dev/vda / ext4 rw" /proc/mounts'
    holds "process_1_with_${name}_is_the_trees" guest "[ \$(busybox readlink /proc/1/exe) = $process_1 ]"
    holds "guest_with_${name}_writes_to_its_root" guest 'busybox touch /written && busybox sync'
    holds "guest_with_${name}_is_ended" "$SMOLCTL" vm rm --force "$VM"
    STARTED=
    holds "disk_with_${name}_stays_as_it_was" [ "$before" = "$(sha256sum "$disk")" ]
}

guest() { "$SMOLCTL" run "$VM" --shell raw --timeout 20 -c "$1"; }

end() {
    [ -z "$STARTED" ] || "$SMOLCTL" vm rm --force "$VM" >&2 || true
    rm -rf "$FOLDER"
}

main "$@"
