# What a machine of one system builds: each package, check and app with what it is made of. One derivation a file; how they
# hang together is here alone.
{ lib
, crane
, # The flake itself, for its outputs and modules.
  self
, # nixpkgs for this machine, and for each guest's own system.
  pkgs
, packagesOf
,
}:
let
  sources = import ./sources.nix { inherit lib; };
  guests = import ./guests.nix { inherit pkgs packagesOf; };
  rustFor = packageSet: import ./rust.nix { inherit lib crane; pkgs = packageSet; };
  rust = rustFor pkgs;

  smolctl = pkgs.callPackage ./packages/smolctl.nix { inherit rust sources; };

  # What is made for guests of one architecture.
  forGuest =
    guest:
    let
      inherit (guest) arch;
      guestRust = rustFor guest.musl;
      busybox = guest.compiled.pkgsStatic.busybox;
      kernel = pkgs.callPackage ./packages/kernel.nix { inherit guest; };
      kernelLean = pkgs.callPackage ./packages/kernel-lean.nix { inherit guest; };
      guestAgent = pkgs.callPackage ./packages/guest-agent.nix { rust = guestRust; inherit sources arch; };
      image = pkgs.callPackage ./packages/image.nix { inherit smolctl guestAgent busybox kernel arch; };
      sshPackages = pkgs.callPackage ./packages/ssh-packages.nix { inherit guest; };
    in
    {
      inherit
        arch
        guest
        guestAgent
        busybox
        kernel
        kernelLean
        image
        sshPackages
        ;
      endToEnd = pkgs.callPackage ./packages/end-to-end.nix { rust = guestRust; inherit sources arch; };
      imageSsh = image.override { variant = "ssh"; packages = sshPackages; };
      imageLean = image.override { kernel = kernelLean; name = "smolvm-image-lean-${arch}"; };
    };
  parts = lib.mapAttrs (_: forGuest) guests;

  shipped = {
    inherit smolctl;
  }
  // lib.concatMapAttrs
    (arch: part: {
      "guest-agent-${arch}" = part.guestAgent;
      "kernel-${arch}" = part.kernel;
      "kernel-lean-${arch}" = part.kernelLean;
      "image-${arch}" = part.image;
      "image-ssh-${arch}" = part.imageSsh;
      "image-lean-${arch}" = part.imageLean;
    })
    parts;

  own = parts.${pkgs.stdenv.hostPlatform.parsed.cpu.name};
  # What a VM on this machine needs besides our own programs.
  vmTools = [
    pkgs.qemu
    pkgs.vhost-device-vsock
  ];
  hashes = pkgs.callPackage ./apps/hashes.nix { inherit shipped self; };
  checks = import ./checks.nix {
    inherit
      lib
      pkgs
      parts
      own
      rust
      smolctl
      sources
      vmTools
      self
      ;
  };
  boot = pkgs.callPackage ./apps/boot.nix { inherit smolctl vmTools; inherit (own) image; };
in
{
  inherit parts smolctl;
  inherit (pkgs) callPackage;

  packages = shipped // {
    default = smolctl;
    guest-agent = own.guestAgent;
    hashes = hashes.table;
  };

  checks = checks.chosen;

  # No products: every check, and the end-to-end program.
  internals = {
    checks = checks.all;
    end-to-end = lib.mapAttrs (_: part: part.endToEnd) parts;
  };

  apps = lib.mapAttrs
    (_: program: {
      type = "app";
      program = "${program}/bin/${program.name}";
      meta.description = program.meta.description;
    })
    { default = boot; hashes = hashes.program; };

  devShell = import ./dev-shell.nix { inherit pkgs rust vmTools; };
  formatter = pkgs.callPackage ./formatter.nix { };
}
