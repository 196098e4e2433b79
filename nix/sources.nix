# Which files of the checkout a derivation sees. What a set does not name rebuilds nothing that is made of it: no
# document and no test rebuilds the agent, and neither does the host side.
{ lib }:
let
  tree =
    files:
    lib.fileset.toSource {
      root = ../.;
      fileset = lib.fileset.unions files;
    };
  # Cargo reads every member's manifest, whichever it builds.
  manifests = [
    ../Cargo.toml
    ../Cargo.lock
    ../protocol/Cargo.toml
    ../guest-agent/Cargo.toml
    ../tests/e2e/Cargo.toml
    ../benches/Cargo.toml
  ];
  host = manifests ++ [
    ../protocol/src
    ../src
    # Layouts are built into smolctl.
    ../images
  ];
in
{
  guestAgent = tree (
    manifests
    ++ [
      ../protocol/src
      ../guest-agent/src
    ]
  );
  smolctl = tree host;
  endToEnd = tree (host ++ [ ../tests/e2e/src ]);
  workspace = tree (
    host
    ++ [
      ../clippy.toml
      ../deny.toml
      ../rustfmt.toml
      ../guest-agent/src
      ../benches
      ../tests
    ]
  );
  # The protocol's document names cases of other crates, too, and the suite looks for them.
  conformance = tree [
    ../docs
    ../guest-agent/src
    ../protocol/src
    ../tests/e2e/src
    ../tests/conformance
    # Its own host side.
    ../python/src
  ];
  # What the formatter and the linter of Nix files look at.
  nix = tree [
    ../flake.nix
    ../nix
    ../tests/nix
    ../tests/nixos
  ];
}
