{
  description = "Stands in for crane where its dependencies cannot be had: the functions that our flake calls, over one plain cargo";

  # flake.nix of crane: mkLib.
  outputs = { self }: { mkLib = packages: import ./lib.nix { inherit packages; root = self; }; };
}
