# No lint of the workspace's table.
{ rust, sources }:
let
  settings = import ./workspace/settings.nix { inherit rust sources; };
in
rust.craneLib.cargoClippy (
  settings
    // {
    cargoArtifacts = rust.craneLib.buildDepsOnly settings;
    cargoClippyExtraArgs = "--all-targets -- --deny warnings";
  }
)
