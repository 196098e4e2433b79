# `nix run . -- COMMAND`: boots the image in QEMU, runs the command in it, shows what it says, and ends the VM.
{ lib
, writeShellApplication
, coreutils
, smolctl
, vmTools
, image
,
}:
writeShellApplication {
  name = "smolvm-boot";
  runtimeInputs = [
    coreutils
    smolctl
  ]
  ++ vmTools;
  text = ''
    image=${image}
    ${builtins.readFile ./boot.sh}
  '';
  meta = {
    description = "Boots the minimal guest image and runs a command in it";
    platforms = lib.platforms.linux;
  };
}
