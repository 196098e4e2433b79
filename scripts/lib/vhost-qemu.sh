#!/bin/sh
# In the outer VM of scripts/e2e-vhost.sh, by the name of QEMU: the same with a monitor, and with the unpacked kernel, which
# boots sooner. Leaves the arguments for who restores the VM.
here=/nested
for word; do
    shift
    case $word in */vmlinuz) word=$here/vmlinux ;; esac
    set -- "$@" "$word"
done
# A restored VM's arguments are those of its first start.
case $* in *' -incoming '*) ;; *) printf '%s\n' "$@" >"$here/qemu.arguments" ;; esac
export QEMU_MODULE_DIR=$here/qemu
exec "$here/qemu/qemu-system-x86_64" -L "$here/qemu" -qmp "unix:$here/qmp,server=on,wait=off" "$@"
