# overlays.default: the packages of this flake beside nixpkgs' own, built with the inputs that this flake locks.
{ projects }:
final: _previous:
let
  own = import ./project-for.nix { inherit projects; } final.stdenv;
in
{
  inherit (own.project) smolctl;
  smolvm-guest-agent = own.part.guestAgent;
  smolvm-images = builtins.mapAttrs
    (_: part: {
      minimal = part.image;
      ssh = part.imageSsh;
      lean = part.imageLean;
    })
    own.project.parts;
}
