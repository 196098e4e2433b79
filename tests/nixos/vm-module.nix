# The module's settings hold in a booted guest: the agent runs before sshd, systemd holds its port, a hardened one serves.
{ testers, self }:
testers.runNixOSTest {
  name = "smolvm-vm-module";
  globalTimeout = 900;
  nodes = {
    plain = {
      imports = [ self.nixosModules.guest-agent ];
      services.smolvm-guest-agent.enable = true;
      services.openssh.enable = true;
    };
    activated = {
      imports = [ self.nixosModules.guest-agent ];
      services.smolvm-guest-agent = {
        enable = true;
        socketActivation = true;
        hardening = true;
      };
    };
  };
  testScript = ''
    start_all()
    with subtest("the agent is started before sshd"):
        plain.wait_for_unit("sshd.service")
        plain.succeed("systemctl is-active smolvm-guest-agent.service")
        plain.succeed("systemctl show -p Before smolvm-guest-agent.service | grep -w sshd.service")
    with subtest("systemd holds the port until somebody asks"):
        activated.wait_for_unit("smolvm-guest-agent.socket")
        activated.succeed("systemctl show -p Listen smolvm-guest-agent.socket | grep -F 'vsock::1024'")
    with subtest("the hardened service starts"):
        activated.succeed("systemctl start smolvm-guest-agent.service")
        activated.succeed("systemctl show -p ProtectSystem smolvm-guest-agent.service | grep -w full")
  '';
}
