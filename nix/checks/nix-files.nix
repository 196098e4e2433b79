# Nix files are as the formatter writes them, and have nothing that is never used.
{ runCommand
, nixpkgs-fmt
, deadnix
, sources
,
}:
runCommand "nix-files"
{
  nativeBuildInputs = [
    nixpkgs-fmt
    deadnix
  ];
}
  ''
    nixpkgs-fmt --check ${sources.nix}
    deadnix --fail ${sources.nix}
    touch $out
  ''
