# The guests' architectures, as a machine of one system builds for them: the package sets that its programs come from.
{ pkgs, packagesOf }:
let
  isBuilder = cpu: pkgs.stdenv.hostPlatform.parsed.cpu.name == cpu;
in
{
  x86_64 = {
    arch = "x86_64";
    # For our own programs. Across on every builder: its compiler has a std for musl, the builder's own has none.
    musl = pkgs.pkgsCross.musl64;
    # What others wrote and is compiled for guests.
    compiled = if isBuilder "x86_64" then pkgs else pkgs.pkgsCross.gnu64;
    # What is not compiled: of the guest's own system, which nixpkgs' cache has; a cross compiled kernel is another derivation.
    native = packagesOf "x86_64-linux";
    kernelFile = "bzImage";
  };
  aarch64 = {
    arch = "aarch64";
    musl = pkgs.pkgsCross.aarch64-multiplatform-musl;
    compiled = if isBuilder "aarch64" then pkgs else pkgs.pkgsCross.aarch64-multiplatform;
    native = packagesOf "aarch64-linux";
    kernelFile = "Image";
  };
}
