# overlays.default: the packages of this flake beside nixpkgs' own, built with the inputs that this flake locks.
{ projects }:
final: _previous:
let
  inherit (projects.${final.stdenv.buildPlatform.system}) parts smolctl;
in
{
  inherit smolctl;
  smolvm-guest-agent = parts.${final.stdenv.hostPlatform.parsed.cpu.name}.guestAgent;
  smolvm-images = builtins.mapAttrs
    (_: part: {
      minimal = part.image;
      ssh = part.imageSsh;
      lean = part.imageLean;
    })
    parts;
}
