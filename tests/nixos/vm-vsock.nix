# The agent, as a NixOS guest has it by our module, does over real virtio-vsock what a host asks of it; the host is the builder,
# which needs no /dev/vhost-vsock: the test driver serves the device by vhost-user.
{ lib
, testers
, own
, self
,
}:
testers.runNixOSTest {
  name = "smolvm-vm-vsock";
  globalTimeout = 900;
  # The driver gives each node a vsock device only with this.
  sshBackdoor.enable = true;
  nodes.guest = {
    imports = [ self.nixosModules.guest-agent ];
    services.smolvm-guest-agent.enable = true;
    virtualisation.memorySize = 1024;
  };
  testScript = ''
    import subprocess

    start_all()
    guest.wait_for_unit("smolvm-guest-agent.service")
    with subtest("the host's cases pass"):
        harness = ["${lib.getExe own.endToEnd}", "drive", f"uds:{guest.vsock_host}"]
        limits = ["--max-idle-kib", "1024", "--max-growth-kib", "256", "--foreign-init", "--max-transfer-mib", "8"]
        subprocess.run([*harness, *limits, "--guest-program", "${lib.getExe own.endToEnd}"], check=True)
  '';
}
