# The program that drives an agent from the host and meets it within the guest (tests/e2e); static, so that one file does both.
{ lib
, rust
, sources
, arch
,
}:
let
  settings =
    rust.settings
      {
        name = "smolvm-e2e-${arch}";
        source = sources.endToEnd;
        package = "smolvm-e2e";
      }
    // {
      # It is a test; its own run is a VM's.
      doCheck = false;
    };
in
rust.craneLib.buildPackage (
  settings
    // {
    cargoArtifacts = rust.craneLib.buildDepsOnly settings;
    allowedReferences = [ ];
    meta = {
      description = "End-to-end cases against the guest agent of a booted VM";
      license = lib.licenses.asl20;
      mainProgram = "smolvm-e2e";
      platforms = lib.platforms.linux;
    };
  }
)
