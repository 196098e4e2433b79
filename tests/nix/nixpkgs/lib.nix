# The functions of nixpkgs' lib that our flake uses, and no others; behind each, the file of nixpkgs that it was looked up in.
rec {
  inherit (builtins)
    attrNames# lib/attrsets.nix
    attrValues# lib/attrsets.nix
    concatStringsSep# lib/strings.nix
    elem# lib/lists.nix
    filter# lib/lists.nix
    mapAttrs# lib/attrsets.nix
    ;

  # lib/attrsets.nix
  genAttrs = names: f: builtins.listToAttrs (map (name: { inherit name; value = f name; }) names);
  mapAttrs' = f: set: builtins.listToAttrs (map (name: f name set.${name}) (attrNames set));
  mapAttrsToList = f: set: map (name: f name set.${name}) (attrNames set);
  concatMapAttrs = f: set: mergeAttrsList (mapAttrsToList f set);
  filterAttrs = keep: set: builtins.removeAttrs set (filter (name: !keep name set.${name}) (attrNames set));
  mergeAttrsList = builtins.foldl' (all: one: all // one) { };
  optionalAttrs = condition: set: if condition then set else { };

  # lib/lists.nix
  optionals = condition: list: if condition then list else [ ];

  # lib/strings.nix
  concatStrings = concatStringsSep "";
  concatMapStringsSep = separator: f: list: concatStringsSep separator (map f list);
  optionalString = condition: string: if condition then string else "";
  hasSuffix =
    suffix: string:
    let
      length = builtins.stringLength string - builtins.stringLength suffix;
    in
    length >= 0 && builtins.substring length (-1) string == suffix;
  removeSuffix =
    suffix: string:
    if hasSuffix suffix string then
      builtins.substring 0 (builtins.stringLength string - builtins.stringLength suffix) string
    else
      string;
  escapeShellArg = value: "'${builtins.replaceStrings [ "'" ] [ "'\\''" ] (toString value)}'";

  # lib/customisation.nix
  makeOverridable =
    f: arguments: f arguments // { override = changed: makeOverridable f (arguments // changed); };
  callPackageWith =
    known: path: extra:
    let
      f = if builtins.isFunction path then path else import path;
      wanted = builtins.functionArgs f;
      found = builtins.intersectAttrs wanted known // extra;
      missing = filter (name: !wanted.${name} && !(found ? ${name})) (attrNames wanted);
    in
    if missing == [ ] then
      makeOverridable f found
    else
      throw "the stand-in for nixpkgs has no ${concatStringsSep ", " missing}, which ${if builtins.isFunction path then "a function" else toString path} asks for";

  # lib/meta.nix
  getExe =
    package:
    "${package}/bin/${
      package.meta.mainProgram or (throw "getExe: ${package.name} has no meta.mainProgram")
    }";

  # lib/licenses/default.nix
  licenses = {
    asl20.spdxId = "Apache-2.0";
    gpl2Only.spdxId = "GPL-2.0-only";
  };
  # lib/systems/doubles.nix by lib/systems/platforms.nix
  platforms.linux = [ "x86_64-linux" "aarch64-linux" ];

  # lib/fileset/default.nix: files and folders below one root.
  fileset = {
    unions = files: { inherit files; };
    toSource =
      { root, fileset }:
      let
        below = prefix: path: path == prefix || builtins.substring 0 (builtins.stringLength prefix + 1) path == "${prefix}/";
        missing = filter (file: !builtins.pathExists file) fileset.files;
      in
      if missing != [ ] then
        throw "lib.fileset.toSource: ${concatMapStringsSep ", " toString missing} is not there"
      else
        builtins.path {
          path = root;
          name = "source";
          filter =
            path: _type: builtins.any (file: below (toString file) path || below path (toString file)) fileset.files;
        };
  };
}
