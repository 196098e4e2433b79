# Every check, from what lies in nix/checks and tests/nixos: a file is a check of its own name. One that asks for `part` is made
# once for each guest's architecture, as NAME-ARCH.
arguments@{ lib
, pkgs
, parts
, ...
}:
let
  namesIn =
    folder:
    map (lib.removeSuffix ".nix") (
      lib.filter (lib.hasSuffix ".nix") (builtins.attrNames (builtins.readDir folder))
    );
  call = path: extra: lib.callPackageWith (pkgs // arguments // extra) path { };
  asks = path: name: builtins.functionArgs (import path) ? ${name};
  checksIn =
    folder:
    lib.mergeAttrsList (
      map
        (
          name:
          let
            path = folder + "/${name}.nix";
          in
          if asks path "part" then
            lib.mapAttrs'
              (arch: part: {
                name = "${name}-${arch}";
                value = call path { inherit part; };
              })
              parts
          else
            { ${name} = call path { }; }
        )
        (namesIn folder)
    );
  all = checksIn ./checks // checksIn ../tests/nixos;
in
{
  inherit all;
  # A package set that stands in for nixpkgs says which ones mean something with it; all of them are evaluated all the same.
  chosen = if pkgs ? standIn then lib.filterAttrs (name: _: pkgs.standIn.builds name) all else all;
}
