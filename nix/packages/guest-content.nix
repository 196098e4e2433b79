# What mkGuestImage adds to a variant: a layout that includes it, and a tree with the packages' closure, files and boot scripts.
{ lib
, runCommand
, closureInfo
, sshPackages
, variant
, packages
, files
, bootScripts
,
}:
let
  closure = closureInfo { rootPaths = packages; };
  fileOf = file: if builtins.isAttrs file && file ? source then file else { source = file; };
  # A path in the guest, as a shell's word; what is no plain absolute path would stand elsewhere than it says.
  checked =
    path:
    if builtins.match "(/[^/]+)+" path == null || builtins.match ".*/\\.\\.?(/.*|$)" path != null then
      throw "mkGuestImage: '${path}' is no plain absolute path of a guest's file"
    else
      path;
  install =
    mode: source: path:
    "install -D -m ${mode} ${source} tree${lib.escapeShellArg (checked path)}";
  script =
    name: source:
    if builtins.match "[A-Za-z0-9._-]+" name == null then
      throw "mkGuestImage: '${name}' is no name of a boot script: letters, digits, dots, hyphens and underscores"
    else
      install "0755" source "/etc/smolvm/boot.d/${name}";
in
runCommand "smolvm-guest-content" { } (
  ''
    mkdir -p tree $out/packages
  ''
  + lib.optionalString (variant == "ssh") ''
    cp -r ${sshPackages}/. $out/packages
    chmod -R u+w $out/packages
  ''
  + lib.optionalString (packages != [ ]) ''
    mkdir -p tree/nix/store tree/usr/local/bin
    # A store may link files that are alike (auto-optimise-store), which is no part of what they are.
    while read -r path; do cp -a --no-preserve=links "$path" tree/nix/store/; done <${closure}/store-paths
    for package in ${lib.concatMapStringsSep " " toString packages}; do
      for program in "$package"/bin/*; do
        [ -e "$program" ] || continue
        ln -s "$program" tree/usr/local/bin/ || {
          echo "mkGuestImage: two of the packages have a program of the name of $program; leave one out" >&2
          exit 1
        }
      done
    done
  ''
  + lib.concatStrings (
    lib.mapAttrsToList
      (
        path: file:
          let
            given = fileOf file;
          in
          install (given.mode or "0644") given.source path + "\n"
      )
      files
    ++ lib.mapAttrsToList (name: source: script name source + "\n") bootScripts
  )
    + ''
    # A store's files have no permissions but read and execute, so the tree goes there packed.
    tar --create --sort=name --numeric-owner --owner=0 --group=0 --mtime=@0 --file=$out/packages/tree.tar --directory=tree .
    printf '%s\n' 'include ${variant}' 'tree /tree.tar' >$out/layout
  ''
)
