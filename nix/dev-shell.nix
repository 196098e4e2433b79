# What one needs to work on this project: the toolchain, and what the scripts would fetch otherwise.
{ pkgs
, rust
, vmTools
,
}:
rust.craneLib.devShell {
  packages =
    [
      pkgs.nixpkgs-fmt
      pkgs.cargo-deny
      pkgs.cargo-nextest
      pkgs.deadnix
      pkgs.e2fsprogs
      pkgs.python3
    ]
    ++ vmTools;
}
