# Rust files are as rustfmt writes them.
{ rust, sources }:
rust.craneLib.cargoFmt {
  pname = "smolvm-workspace";
  inherit (rust) version;
  src = sources.workspace;
}
