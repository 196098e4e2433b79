# What runNixOSTest (nixos/lib/testing/*.nix) takes, without what it does: only a real nixpkgs has a NixOS to boot. The script of
# the test is read by pyflakes, as nixpkgs does (nixos/lib/testing/driver.nix), with the names that the driver defines.
{ lib, runCommand }:
{ name
, nodes
, testScript
, globalTimeout
, sshBackdoor ? { enable = false; }
,
}:
assert builtins.isInt globalTimeout && builtins.isBool sshBackdoor.enable;
let
  # Imports are modules, and settings are an attribute set: the least that a node must be.
  machines = lib.mapAttrsToList
    (
      machine: node: assert builtins.isAttrs node && builtins.isList (node.imports or [ ]); machine
    )
    nodes;
  # nixos/lib/test-driver/src/test_driver/driver.py
  names = [ "start_all" "subtest" ] ++ machines;
in
runCommand "vm-test-run-${name}" { script = testScript; } ''
  printf '%s\n' "$script" >script.py
  [ "$(grep -c . script.py)" -lt 30 ] || { echo "the script of ${name} has 30 lines or more" >&2; exit 1; }
  PYFLAKES_BUILTINS=${lib.concatStringsSep "," names} python3 -m pyflakes script.py
  mkdir -p $out
''
