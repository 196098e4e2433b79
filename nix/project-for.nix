# What there is of this flake for a package set: what its builder builds, and the part of that for its own guests.
{ projects }:
stdenv:
let
  inherit (stdenv.buildPlatform) system;
  arch = stdenv.hostPlatform.parsed.cpu.name;
  or' = names: builtins.concatStringsSep " or " (builtins.attrNames names);
  project =
    projects.${system}
      or (throw "smolvm: nothing of it is built on ${system}; use a builder of ${or' projects}");
in
{
  inherit project;
  part =
    project.parts.${arch}
      or (throw "smolvm: there is no guest agent for ${arch}; it is made for ${or' project.parts}");
}
