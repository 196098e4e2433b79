# The functions of crane that our flake calls, and no others; each takes the arguments that crane's own file of that name reads,
# or that stdenv does (lib/mkCargoDerivation.nix), and refuses any other.
{ packages, root }:
let
  inherit (packages) lib stdenv;
  target = stdenv.hostPlatform.rust.rustcTarget;
  # Written by scripts/check-nix with `cargo vendor --locked`; cargo checks each file against Cargo.lock.
  vendored = packages.runCommand "vendored-crates" { } "mkdir $out; tar -xzf ${root}/vendor.tar.gz -C $out";

  common = [ "pname" "version" "src" "strictDeps" "cargoExtraArgs" "CARGO_BUILD_RUSTFLAGS" "doCheck" "nativeBuildInputs" "env" "meta" ];
  checked =
    function: names: arguments:
    let
      unknown = lib.attrNames (builtins.removeAttrs arguments (common ++ names));
    in
    if unknown == [ ] then arguments else throw "crane's ${function} takes no ${lib.concatStringsSep ", " unknown}";

  # One derivation of cargo's; `commands` has $cargo for the call, with the target's own linker and std.
  cargo =
    suffix: arguments: commands:
    stdenv.mkDerivation (
      builtins.removeAttrs arguments [ "cargoArtifacts" "cargoExtraArgs" "cargoTestExtraArgs" "cargoClippyExtraArgs" "cargoDocExtraArgs" "cargoDenyChecks" "doCheck" ]
      // {
        pname = arguments.pname + suffix;
        buildPhase = ''
          export CARGO_HOME=$HOME/cargo CARGO_INCREMENTAL=0 CARGO_NET_OFFLINE=true
          mkdir -p "$CARGO_HOME"
          printf '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "%s"\n' ${vendored} >"$CARGO_HOME/config.toml"
          . ${root}/rust.sh ${target}
          ${commands}
        '';
        installPhase = arguments.installPhase or "mkdir -p $out";
      }
    );
  extra = arguments: arguments.cargoExtraArgs or "--locked";
in
{
  # lib/buildDepsOnly.nix. One cargo call does both here, so this is a name for nothing.
  buildDepsOnly = arguments: builtins.seq (lib.attrNames (checked "buildDepsOnly" [ ] arguments)) null;

  # lib/buildPackage.nix
  buildPackage =
    arguments:
    let
      args = checked "buildPackage" [ "cargoArtifacts" "cargoTestExtraArgs" "postInstall" "allowedReferences" ] arguments;
    in
    assert args ? cargoArtifacts;
    cargo ""
      (
        args
        // {
          installPhase = ''
            mkdir -p $out/bin
            find "$target_folder/release" -maxdepth 1 -type f -perm -100 -exec install -m 755 -t $out/bin {} +
            # lib/setupHooks/removeReferencesToVendoredSourcesHook.sh
            vendored=${vendored}
            hash=''${vendored#"$NIX_STORE/"}
            sed -i "s|$NIX_STORE/''${hash%%-*}|$NIX_STORE/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee|g" $out/bin/*
          '';
        }
      ) ''
      # No checkPhase: scripts/test runs the same tests of the same builds, and a second build would take its time again.
      cargo_for_target build --release ${extra args}
    '';

  # lib/cargoClippy.nix
  cargoClippy = arguments:
    let args = checked "cargoClippy" [ "cargoArtifacts" "cargoClippyExtraArgs" ] arguments; in
    cargo "-clippy" args "cargo clippy --release ${extra args} ${args.cargoClippyExtraArgs}";
  # lib/cargoNextest.nix
  cargoNextest = arguments:
    let args = checked "cargoNextest" [ "cargoArtifacts" ] arguments; in
    cargo "-nextest" args "cargo nextest run --release ${extra args}";
  # lib/cargoDoc.nix
  cargoDoc = arguments:
    let args = checked "cargoDoc" [ "cargoArtifacts" "cargoDocExtraArgs" ] arguments; in
    cargo "-doc" args "cargo doc --release ${extra args} ${args.cargoDocExtraArgs}";
  # lib/cargoFmt.nix
  cargoFmt = arguments: let args = checked "cargoFmt" [ ] arguments; in cargo "-fmt" args "cargo fmt -- --check";
  # lib/cargoDeny.nix
  cargoDeny = arguments:
    let args = checked "cargoDeny" [ "cargoDenyChecks" ] arguments; in
    cargo "-deny" args "cargo deny --offline check ${args.cargoDenyChecks}";
  # lib/devShell.nix
  devShell = { packages ? [ ] }: stdenv.mkDerivation { name = "shell"; inherit packages; dontUnpack = true; buildPhase = "mkdir -p $out"; };
}
