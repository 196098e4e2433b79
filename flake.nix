{
  description = "A static guest agent for microVMs over vsock, minimal guest images with it, and their host side";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixos-26.05";
    crane.url = "github:ipetkov/crane";
  };

  outputs =
    { self
    , nixpkgs
    , crane
    ,
    }:
    let
      inherit (nixpkgs) lib;
      forEachSystem = lib.genAttrs [
        "x86_64-linux"
        "aarch64-linux"
      ];
      # All that is built on a machine of one system, for guests of both architectures; nix/project.nix is its map.
      projects = forEachSystem (
        system:
        import ./nix/project.nix {
          inherit lib crane self;
          pkgs = nixpkgs.legacyPackages.${system};
          packagesOf = guestSystem: nixpkgs.legacyPackages.${guestSystem};
        }
      );
      ofEachProject = name: lib.mapAttrs (_: project: project.${name}) projects;
    in
    {
      # guest-agent-ARCH, smolctl, kernel-ARCH, kernel-lean-ARCH, image-ARCH, image-ssh-ARCH, image-lean-ARCH, …
      packages = ofEachProject "packages";

      # One file each in nix/checks and tests/nixos.
      checks = ofEachProject "checks";

      # `nix run . -- COMMAND` boots an image and runs a command in it; `nix run .#hashes` tells what to pin.
      apps = ofEachProject "apps";

      # Every check, and the end-to-end program: no products.
      legacyPackages = ofEachProject "internals";

      devShells = lib.mapAttrs (_: project: { default = project.devShell; }) projects;

      formatter = ofEachProject "formatter";

      lib.mkGuestImage = import ./nix/mk-guest-image.nix { inherit projects; };

      overlays.default = import ./nix/overlay.nix { inherit projects; };

      nixosModules = {
        default = self.nixosModules.guest-agent;
        guest-agent = import ./nix/modules/guest-agent.nix { inherit projects; };
        host = import ./nix/modules/host.nix { inherit projects; };
      };

      templates = {
        default = self.templates.consumer;
        consumer = {
          path = ./nix/templates/consumer;
          description = "A guest image with a package and a boot script of your own, pinned by this flake's lock";
        };
      };
    };
}
