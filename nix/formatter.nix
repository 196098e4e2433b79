# `nix fmt`: every Nix file, or those that are named.
{ writeShellApplication, nixpkgs-fmt }:
writeShellApplication {
  name = "format-nix-files";
  runtimeInputs = [ nixpkgs-fmt ];
  text = ''
    nixpkgs-fmt "''${@:-.}"
  '';
  meta.description = "Formats Nix files";
}
