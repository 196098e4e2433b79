# services.smolvm-host: a NixOS machine that runs microVMs and talks to their agents.
{ projects }:
{ config
, lib
, pkgs
, ...
}:
let
  settings = config.services.smolvm-host;
  inherit (lib)
    mkEnableOption
    mkIf
    mkOption
    types
    ;
in
{
  options.services.smolvm-host = {
    enable = mkEnableOption "the host side of the SmolVM guest agent: vhost_vsock, and smolctl for everybody";
    package = mkOption {
      type = types.package;
      default = (import ../project-for.nix { inherit projects; } pkgs.stdenv).project.smolctl;
      defaultText = "smolctl of this flake";
      description = "The command line.";
    };
    group = mkOption {
      type = types.strMatching "[a-z_][a-z0-9_-]*";
      default = "vhost-vsock";
      description = "The group whose members may open /dev/vhost-vsock, and with it choose a VM's context identifier.";
    };
  };

  config = mkIf settings.enable {
    boot.kernelModules = [ "vhost_vsock" ];
    users.groups.${settings.group} = { };
    services.udev.extraRules = ''
      KERNEL=="vhost-vsock", GROUP="${settings.group}", MODE="0660"
    '';
    # By this, CIDs are given out once for all users (src/vm/cid_pool.rs): not everybody can make a file in that folder.
    systemd.tmpfiles.rules = [ "f /run/lock/smolvm-cids 0666 root root -" ];
    # `vm start` looks for QEMU on the PATH, `image build` and `image inject` for mke2fs and debugfs.
    environment.systemPackages = [
      settings.package
      pkgs.qemu
      pkgs.e2fsprogs
    ];
  };
}
