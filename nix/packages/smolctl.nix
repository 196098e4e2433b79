# The host's command line, with its manual pages and completions.
{ lib
, rust
, sources
, installShellFiles
,
}:
let
  settings = rust.settings {
    name = "smolctl";
    source = sources.smolctl;
    package = "smolvm-host";
  };
in
rust.craneLib.buildPackage (
  settings
    // {
    cargoArtifacts = rust.craneLib.buildDepsOnly settings;
    cargoTestExtraArgs = "--lib --bins";
    nativeBuildInputs = [ installShellFiles ];
    postInstall = ''
      $out/bin/smolctl manual --output manual
      installManPage manual/*.1
      for shell in bash fish zsh; do
        $out/bin/smolctl completions $shell >smolctl.$shell
        installShellCompletion --cmd smolctl --$shell smolctl.$shell
      done
    '';
    meta = {
      description = "Talks to guest agents, starts microVMs, builds their images";
      license = lib.licenses.asl20;
      mainProgram = "smolctl";
      platforms = lib.platforms.linux;
    };
  }
)
