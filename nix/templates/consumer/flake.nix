{
  description = "A guest image of one's own, on SmolVM's";

  # Put the address here that you have SmolVM's flake from (git+https://…, path:/…). flake.lock then pins it by narHash, and with
  # it every byte of the image; `nix flake update` is the way to newer ones.
  inputs.smolvm.url = "git+https://git.example.org/smolvm";

  outputs =
    { smolvm, ... }:
    let
      # The machine that builds; guests are of either architecture.
      system = "x86_64-linux";
      guestPackages = smolvm.inputs.nixpkgs.legacyPackages.x86_64-linux;
    in
    {
      # `nix build`, then `smolctl vm start --image ./result --name my-guest --memory 384`.
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
