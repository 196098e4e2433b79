{
  description = "A guest image of one's own, on SmolVM's";

  # Where SmolVM's flake is: its address here, or once for this machine: `nix registry add smolvm ADDRESS`. flake.lock then pins
  # it by narHash, and with it every byte of the image; `nix flake update` is the way to newer ones.
  inputs.smolvm.url = "flake:smolvm";

  outputs =
    { smolvm, ... }:
    let
      # The machine that builds; guests are of either architecture.
      system = "x86_64-linux";
      guestPackages = smolvm.inputs.nixpkgs.legacyPackages.x86_64-linux;
    in
    {
      packages.${system}.default = smolvm.lib.mkGuestImage {
        inherit system;
        arch = "x86_64";
        name = "my-guest";
        packages = [ guestPackages.hello ];
        files."/etc/motd" = ./motd;
        bootScripts."50-greet" = ./greet.sh;
      };
    };
}
