# A machine with a real vhost_vsock boots our image in a QEMU of its own, and drives the agent by its CID: what a user's host does.
{ lib
, testers
, own
, smolctl
, vmTools
, self
,
}:
testers.runNixOSTest {
  name = "smolvm-vm-vhost-vsock";
  globalTimeout = 1800;
  nodes.host = {
    imports = [ self.nixosModules.host ];
    services.smolvm-host.enable = true;
    environment.systemPackages = [ smolctl ] ++ vmTools;
    virtualisation.memorySize = 2048;
    virtualisation.qemu.options = [ "-cpu max" ];
  };
  testScript = ''
    host.wait_for_unit("multi-user.target")
    host.wait_for_file("/dev/vhost-vsock")
    with subtest("smolctl boots the image on vhost-vsock-pci"):
        host.succeed("smolctl vm start --image ${own.image} --name inner --memory 384 --vsock kernel --timeout 600 >&2")
    with subtest("the host's cases pass by CID"):
        target = host.succeed("smolctl vm list --json | grep -o 'cid:[0-9]*'").strip()
        harness = "${lib.getExe own.endToEnd}"
        limits = "--max-idle-kib 1024 --max-growth-kib 256 --max-pss-kib 1500 --max-transfer-mib 8 --short"
        host.succeed(f"{harness} drive {target} --guest-program {harness} {limits} >&2")
    with subtest("the VM ends in order"):
        host.succeed("smolctl vm rm --force inner >&2")
  '';
}
