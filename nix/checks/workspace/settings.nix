# What the checks of the whole workspace, as the builder's own programs, are called with; they share one build of dependencies.
{ rust, sources }:
{
  pname = "smolvm-workspace";
  inherit (rust) version;
  src = sources.workspace;
  strictDeps = true;
  cargoExtraArgs = "--locked --workspace";
}
