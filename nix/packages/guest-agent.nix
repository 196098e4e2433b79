# The guest agent, static and for musl, with no reference to the store: its one file can be copied into any guest.
{ lib
, rust
, sources
, arch
,
}:
let
  settings = rust.settings {
    name = "smolvm-guest-agent-${arch}";
    source = sources.guestAgent;
    package = "smolvm-guest-agent";
  };
in
rust.craneLib.buildPackage (
  settings
    // {
    cargoArtifacts = rust.craneLib.buildDepsOnly settings;
    allowedReferences = [ ];
    meta = {
      description = "Serves the host of a microVM over vsock: commands and terminals, files and trees, streams";
      license = lib.licenses.asl20;
      mainProgram = "smolvm-guest-agent";
      platforms = lib.platforms.linux;
    };
  }
)
