#!/bin/sh
# In the outer VM of scripts/e2e-vhost.sh: starts the inner one on this machine's vhost-vsock by our own smolctl, and runs its
# cases. Busybox's shell; everything is beside this file.
set -eu
cd "$(dirname "$0")"
here=$PWD
export PATH="$here/bin:$PATH" SMOLVM_STATE_DIR="$here/state" SMOLVM_CACHE_DIR="$here/cache"
mkdir -p saved
for module in vhost_iotlb vhost vhost_vsock; do
    [ ! -e "$module.ko" ] || insmod "$module.ko"
done
ls -la /dev/vhost-vsock

# An emulated machine within an emulated one finds no clock that it trusts, and tests its algorithms for minutes.
khz=$(awk '/cpu MHz/ { printf "%d", $4 * 1000; exit }' /proc/cpuinfo)
words="nokaslr mitigations=off no_timer_check tsc_early_khz=$khz tsc=reliable cryptomgr.notests"
words="$words initcall_blacklist=crypto_kdf108_init,jent_mod_init,init_encrypted,load_system_certificate_list,init_ima"
words="$words,bpf_tcp_ca_kfunc_init,bpf_dummy_struct_ops_init,vga_arb_device_init,hmat_init,sed_opal_init,trace_eval_init"
smolctl vm start --image image --name inner --memory 128 --tcg --vsock kernel --timeout 300 --kernel-append "$words" --json >vm.json
cid=$(sed -n 's/.*"cid":\([0-9]*\).*/\1/p' vm.json)
qemu=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' vm.json)
smolctl vm timings inner
status=0

# A CID that no VM has.
code=0
told=$(smolctl ping cid:4000 --timeout 20 2>&1) || code=$?
case $code:$told in
125:*'no running VM of this host has that CID'*) echo "passed  cid_without_a_vm_is_told_in_one_sentence"; echo "1 passed, 0 failed, 0 skipped" ;;
*) echo "FAILED  cid_without_a_vm_is_told_in_one_sentence: exit code $code, '$told'"; echo "0 passed, 1 failed, 0 skipped"; status=1 ;;
esac

smolvm-e2e drive "cid:$cid" --guest-program bin/smolvm-e2e --max-transfer-mib 2 --short "$@" || status=$?
smolvm-e2e snapshot "$cid" "$qemu" --program "$here/bin/qemu-system-x86_64" \
    --arguments "$here/qemu.arguments" --monitor "$here/qmp" --folder "$here/saved" ||
    status=$?
if [ "$status" != 0 ]; then
    # Removing the VM removes it.
    echo "the inner guest's console since it was started or restored last:"
    tail -n 30 state/vms/*/console.log || true
fi
smolctl vm rm --force inner || status=$?
exit "$status"
