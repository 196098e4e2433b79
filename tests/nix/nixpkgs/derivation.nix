# mkDerivation and runCommand of nixpkgs (pkgs/stdenv/generic/make-derivation.nix, pkgs/build-support/trivial-builders/default.nix)
# as far as our flake calls them, over this machine's bash and tools.
{ lib
, system
, host
,
}:
let
  # What our derivations pass: any other name is refused, as a misspelt one would do nothing.
  settings = [
    "CARGO_BUILD_RUSTFLAGS"
    "__structuredAttrs"
    "allowMissing"
    "allowedReferences"
    "buildPhase"
    "configurePhase"
    "depsBuildBuild"
    "postPatch"
    "dontFixup"
    "dontUnpack"
    "env"
    "exportReferencesGraph"
    "inputsFrom"
    "installPhase"
    "meta"
    "name"
    "nativeBuildInputs"
    "packages"
    "passthru"
    "paths"
    "pname"
    "postInstall"
    "rootModules"
    "script"
    "src"
    "strictDeps"
    "unsafeDiscardReferences"
    "version"
  ];
  mkDerivation =
    arguments:
    let
      unknown = lib.attrNames (builtins.removeAttrs arguments settings);
      name = arguments.name or "${arguments.pname}-${arguments.version}";
      hooks = lib.filter (each: builtins.isPath each || builtins.isString each) (arguments.nativeBuildInputs or [ ]);
      programs = lib.filter (each: builtins.isAttrs each) (arguments.nativeBuildInputs or [ ]);
      built = derivation (
        builtins.removeAttrs arguments [ "meta" "passthru" "env" "nativeBuildInputs" "strictDeps" "pname" "version" "depsBuildBuild" ]
        // (arguments.env or { })
        // {
          inherit name system;
          builder = "/bin/bash";
          args = [ ./setup.sh ];
          hooks = map (hook: "${hook}") hooks;
          PATH = lib.concatMapStringsSep ":" (each: "${each}/bin") programs + ":" + host.path;
          PYTHONPATH = host.pythonPath;
          outputs = [ "out" ];
        }
      );
    in
    if unknown != [ ] then
      throw "the stand-in for mkDerivation takes no ${lib.concatStringsSep ", " unknown} (${name})"
    else
      built // { meta = arguments.meta or { }; } // (arguments.passthru or { });
in
{
  inherit mkDerivation;
  runCommand =
    name: arguments: script:
    mkDerivation (
      arguments
      // {
        inherit name;
        dontUnpack = true;
        buildPhase = script;
        installPhase = "true";
      }
    );
}
