# `nix run .#hashes`: store path, narHash and sha256 of each file of every shipped output, as JSON; `--check` compares them
# with the table that the release has published.
{ lib
, stdenvNoCC
, writeShellApplication
, python3
, shipped
, self
,
}:
let
  # By name, so that a file of the store says which path is which output.
  paths = lib.mapAttrs (_: toString) shipped;
  table = stdenvNoCC.mkDerivation {
    name = "hashes.json";
    __structuredAttrs = true;
    exportReferencesGraph.graph = lib.attrValues shipped;
    inherit paths;
    nativeBuildInputs = [ python3 ];
    dontUnpack = true;
    dontFixup = true;
    buildPhase = ''
      python3 ${./hashes.py} table "$NIX_ATTRS_JSON_FILE" >hashes.json
    '';
    installPhase = ''
      cp hashes.json "''${outputs[out]-$out}"
    '';
  };
  published = self + "/hashes.json";
in
{
  inherit table;
  program = writeShellApplication {
    name = "smolvm-hashes";
    runtimeInputs = [ python3 ];
    text = ''
      exec python3 ${./hashes.py} show ${table} ${
        if builtins.pathExists published then published else "/no/hashes.json"
      } "$@"
    '';
    meta = {
      description = "Tells store path, narHash and sha256 of every shipped output";
      platforms = lib.platforms.linux;
    };
  };
}
