# lib.mkGuestImage: an image of ours with packages, files and boot scripts of one's own in it.
{ projects }:
{
  # The system that builds it, and the guest's architecture.
  system
, arch ? builtins.head (builtins.split "-" system)
, # minimal (an initramfs), disk (the same with drivers for a disk) or ssh (a disk with an ssh server).
  variant ? "minimal"
, # Packages for the guest, with all that they need; what they have in bin/ is on the guest's PATH.
  packages ? [ ]
, # Absolute path in the guest = a file, or { source; mode; }; the mode is 0644 otherwise.
  files ? { }
, # Name = an executable for /etc/smolvm/boot.d; they run in the order of their names once the agent serves.
  bootScripts ? { }
, # The disk's size in MiB, for variants that have one.
  diskMib ? null
, # Another kernel than nixpkgs' stock one: a derivation with vmlinuz and lib/modules, such as kernel-lean-ARCH.
  kernel ? null
, name ? "guest-image-${arch}"
,
}:
let
  project =
    projects.${system}
      or (throw "mkGuestImage: system is '${system}'; images are built on ${builtins.concatStringsSep " and " (builtins.attrNames projects)}");
  part =
    project.parts.${arch}
      or (throw "mkGuestImage: arch is '${arch}'; it is ${builtins.concatStringsSep " or " (builtins.attrNames project.parts)}");
  base =
    {
      minimal = part.image;
      disk = part.image;
      ssh = part.imageSsh;
    }.${variant} or (throw "mkGuestImage: variant is '${variant}'; it is minimal, disk or ssh");
  isKernel = kernel == null || builtins.isAttrs kernel && kernel ? outPath;
  content = project.callPackage ./packages/guest-content.nix {
    inherit
      variant
      packages
      files
      bootScripts
      ;
    inherit (part) sshPackages;
  };
in
if !isKernel then
  throw "mkGuestImage: kernel is a ${builtins.typeOf kernel}; give a derivation with vmlinuz and lib/modules, such as kernel-lean-${arch}, or leave it out"
else
  base.override (
    {
      inherit name diskMib;
      layout = "${content}/layout";
      packages = "${content}/packages";
    }
      // (if kernel == null then { } else { inherit kernel; })
  )
