# The image boots in QEMU, and its agent, reached over virtio-vsock, does what a host asks of it. No KVM and no /dev/vhost-vsock is
# needed: the sandbox has neither.
{ lib
, runCommand
, smolctl
, own
, vmTools
, part
,
}:
runCommand "vm-boot-${part.arch}" { nativeBuildInputs = [ smolctl ] ++ vmTools; } ''
  export HOME=$PWD SMOLVM_STATE_DIR=$PWD/vms
  bash ${./vm-boot.sh} ${part.image} ${lib.getExe own.endToEnd} ${lib.getExe part.endToEnd}
  touch $out
''
