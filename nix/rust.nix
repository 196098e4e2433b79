# The one way our Rust programs are built: crane over a package set, musl or the builder's own.
{ lib
, crane
, pkgs
,
}:
let
  craneLib = crane.mkLib pkgs;
  inherit (pkgs.stdenv) buildPlatform hostPlatform;
  version = (builtins.fromTOML (builtins.readFile ../Cargo.toml)).workspace.package.version;
  # What scripts/ give rustc for a guest's program, too: lines of "ARCH FLAG".
  guestFlags = builtins.concatMap
    (
      line:
      let
        found = if builtins.isString line then builtins.match "(all|${hostPlatform.parsed.cpu.name}) +(-.*)" line else null;
      in
      lib.optionals (found != null) [ (builtins.elemAt found 1) ]
    )
    (builtins.split "\n" (builtins.readFile ../guest-agent/rustflags));
  flags =
    # nixpkgs links musl dynamically unless it is told otherwise.
    lib.optionals hostPlatform.isMusl ([ "-C target-feature=+crt-static" ] ++ guestFlags)
    ++ [
      "-C link-arg=-Wl,--build-id=none"
      # As in scripts/lib/isolated-cargo.sh.
      "--cfg sha2_backend_soft=\"compact\""
      # Where stdenv unpacks a source in the sandbox; panics name their place.
      "--remap-path-prefix=/build/source=/smolvm"
    ];
in
{
  inherit craneLib version;

  # settings { name; source; package; }: what every derivation of one program is called with. Dependencies and program
  # have the same flags, or the dependencies would be built twice.
  settings =
    { name
    , source
    , package
    ,
    }:
    {
      pname = name;
      inherit version;
      src = source;
      strictDeps = true;
      cargoExtraArgs = "--locked --package ${package}";
      CARGO_BUILD_RUSTFLAGS = lib.concatStringsSep " " flags;
      # Tests of a program for another architecture are in nix/checks/conformance.nix, under an emulator.
      doCheck = buildPlatform.canExecute hostPlatform;
    };
}
