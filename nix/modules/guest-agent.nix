# services.smolvm-guest-agent: the agent in a NixOS guest.
{ projects }:
{ config
, lib
, pkgs
, ...
}:
let
  settings = config.services.smolvm-guest-agent;
  inherit (lib)
    mkEnableOption
    mkIf
    mkOption
    types
    ;
  # A CID and a port are 32 bits; the last of each is VMADDR_CID_ANY and VMADDR_PORT_ANY (vsock(7)).
  last = 4294967294;
  arguments =
    lib.optionals (!settings.socketActivation) [ "--listen vsock:${toString settings.port}" ]
    ++ map (cid: "--allow-cid ${toString cid}") settings.allowedCids;
  # What is run for a host inherits all of this, too.
  hardening = {
    NoNewPrivileges = true;
    PrivateTmp = true;
    ProtectClock = true;
    ProtectHome = "read-only";
    ProtectKernelLogs = true;
    ProtectKernelModules = true;
    ProtectKernelTunables = true;
    ProtectSystem = "full";
    RestrictAddressFamilies = [
      "AF_INET"
      "AF_INET6"
      "AF_NETLINK"
      "AF_UNIX"
      "AF_VSOCK"
    ];
    RestrictSUIDSGID = true;
    SystemCallArchitectures = "native";
  };
in
{
  options.services.smolvm-guest-agent = {
    enable = mkEnableOption "the SmolVM guest agent, by which the host of this VM runs commands and copies files";
    package = mkOption {
      type = types.package;
      default = (import ../project-for.nix { inherit projects; } pkgs.stdenv).part.guestAgent;
      defaultText = "guest-agent of this flake";
      description = "The agent.";
    };
    port = mkOption {
      type = types.ints.between 1 last;
      default = 1024;
      description = "The vsock port; hosts look for the agent on 1024.";
    };
    allowedCids = mkOption {
      type = types.listOf (types.ints.between 1 last);
      default = [ ];
      example = [ 1 ];
      description = "Context identifiers that are served besides the host's, which is 2. 1 is this VM itself: every program in it.";
    };
    socketActivation = mkOption {
      type = types.bool;
      default = false;
      description = "Let systemd listen, so that the port is held while the agent is away, and start the agent at the first connection.";
    };
    hardening = mkOption {
      type = types.bool;
      default = false;
      description = "Confine the agent, and with it whatever hosts run by it, by systemd's sandboxing.";
    };
  };

  config = mkIf settings.enable {
    assertions = [
      {
        assertion = !(builtins.elem 2 settings.allowedCids);
        message = "services.smolvm-guest-agent.allowedCids names 2, the host, which is served anyway; leave it out.";
      }
    ];
    boot.initrd.kernelModules = [ "vmw_vsock_virtio_transport" ];

    systemd.services.smolvm-guest-agent = {
      description = "SmolVM guest agent";
      # A host that waits for the agent has its answer before anybody could log in.
      before = [ "sshd.service" ];
      # A switch to another configuration that a host runs by the agent must not end with it.
      restartIfChanged = false;
      wantedBy = if settings.socketActivation then [ ] else [ "multi-user.target" ];
      # Commands are found as in a login.
      path = [ "/run/wrappers" "/run/current-system/sw" ];
      serviceConfig = {
        ExecStart = lib.concatStringsSep " " ([ "${settings.package}/bin/smolvm-guest-agent" ] ++ arguments);
        Restart = "always";
        RestartSec = 1;
      } // lib.optionalAttrs settings.hardening hardening;
    };
    systemd.sockets = mkIf settings.socketActivation {
      smolvm-guest-agent = {
        description = "SmolVM guest agent's port";
        before = [ "sshd.service" ];
        wantedBy = [ "sockets.target" ];
        listenStreams = [ "vsock::${toString settings.port}" ];
      };
    };
  };
}
