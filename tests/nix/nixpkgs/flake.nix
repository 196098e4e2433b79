{
  description = "Stands in for nixpkgs where no binary cache answers: the names that our flake uses, over this machine's own tools";

  # lib: flake.nix of nixpkgs; legacyPackages: likewise.
  outputs =
    { self }:
    let
      lib = import ./lib.nix;
    in
    {
      inherit lib;
      legacyPackages = lib.genAttrs [ "x86_64-linux" "aarch64-linux" ] (
        system: import ./packages.nix { inherit lib system; root = self; }
      );
    };
}
