# usage: vm-boot.sh IMAGE HARNESS GUEST-PROGRAM
# Boots the image, has the harness drive its agent from outside, and ends the guest in order. HARNESS is tests/e2e for this
# machine, GUEST-PROGRAM the same for the guest.
set -euo pipefail
image=$1 harness=$2 guest_program=$3
# Roomy ones: what is promised of sizes is checked on the build that is measured (docs/promises.md).
limits=(--max-idle-kib 1024 --max-growth-kib 256 --max-pss-kib 1500)

end() { smolctl vm rm --force boot || true; }
trap end EXIT
smolctl vm start --image "$image" --name boot --memory 384 --vsock vhost-user
read -r pid target < <(smolctl vm list --json | sed -n 's/.*"pid":\([0-9]*\).*"target":"\([^"]*\)".*/\1 \2/p')
"$harness" drive "$target" --guest-program "$guest_program" "${limits[@]}" --max-transfer-mib 8 --short
"$harness" shutdown "$target" "$pid"
