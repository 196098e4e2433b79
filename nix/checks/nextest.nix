# Unit tests and the host side's tests pass.
{ rust
, sources
, e2fsprogs
, python3
,
}:
let
  settings = import ./workspace/settings.nix { inherit rust sources; };
in
rust.craneLib.cargoNextest (
  settings
    // {
    cargoArtifacts = rust.craneLib.buildDepsOnly settings;
    nativeBuildInputs = [
      e2fsprogs
      python3
    ];
  }
)
