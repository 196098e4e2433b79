# The crates' documentation builds without a warning.
{ rust, sources }:
let
  settings = import ./workspace/settings.nix { inherit rust sources; };
in
rust.craneLib.cargoDoc (
  settings
    // {
    cargoArtifacts = rust.craneLib.buildDepsOnly settings;
    cargoDocExtraArgs = "--no-deps";
    env.RUSTDOCFLAGS = "-Dwarnings -Arustdoc::private_intra_doc_links";
  }
)
