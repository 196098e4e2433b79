# Crates have the licences, sources and versions that deny.toml allows.
{ rust, sources }:
rust.craneLib.cargoDeny {
  pname = "smolvm-workspace";
  inherit (rust) version;
  src = sources.workspace;
  cargoDenyChecks = "bans licenses sources";
}
