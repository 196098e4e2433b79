# What the NixOS modules of nix/modules say for some settings, as text. The options are evaluated by a few functions of our own:
# types are names, and a value is taken as it is given; the real lib.evalModules needs a real nixpkgs.
{ lib }:
let
  tagged = lib // {
    mkOption = option: { _type = "option"; } // option;
    mkEnableOption = what: {
      _type = "option";
      type = "bool";
      default = false;
      description = "Whether to enable ${what}.";
    };
    mkIf = condition: content: if condition then content else { };
    types = {
      bool = "bool";
      package = "package";
      ints.between = least: most: {
        description = "${toString least}..${toString most}";
        check = value: builtins.isInt value && least <= value && value <= most;
      };
      listOf = type: {
        description = "list of ${type.description}";
        check = builtins.all type.check;
      };
      strMatching = pattern: "string like ${pattern}";
    };
  };
  agent = "/nix/store/agent";
  projects.x86_64-linux = {
    smolctl = "/nix/store/smolctl";
    parts.x86_64.guestAgent = agent;
  };
  pkgs = {
    stdenv = {
      buildPlatform.system = "x86_64-linux";
      hostPlatform.parsed.cpu.name = "x86_64";
    };
    qemu = "/nix/store/qemu";
    e2fsprogs = "/nix/store/e2fsprogs";
  };

  # The module's own options, at their defaults where `settings` does not say otherwise; an unknown setting is refused.
  evaluate =
    service: path: settings:
    let
      module = import path { inherit projects; } {
        inherit pkgs;
        lib = tagged;
        config.services.${service} = values;
      };
      options = module.options.services.${service};
      unknown = lib.attrNames (builtins.removeAttrs settings (lib.attrNames options));
      checked =
        name: option: value:
        if (option.type.check or (_: true)) value then
          value
        else
          throw "${service}.${name} is ${builtins.toJSON value}; it is ${option.type.description}";
      values = lib.mapAttrs (name: option: checked name option (settings.${name} or option.default)) options;
    in
    if unknown != [ ] then throw "${service} has no ${lib.concatStringsSep ", " unknown}" else module.config;

  # Nested sets as lines NAME = VALUE, sorted by name.
  render =
    prefix: value:
    if builtins.isAttrs value && value != { } then
      lib.concatStrings (lib.mapAttrsToList (name: render (if prefix == "" then name else "${prefix}.${name}")) value)
    else
      "${prefix} = ${builtins.toJSON value}\n";

  guestAgent = evaluate "smolvm-guest-agent" ../../nix/modules/guest-agent.nix;
  host = evaluate "smolvm-host" ../../nix/modules/host.nix;
in
{
  # For a setting that is to be refused.
  withPort = port: render "" (guestAgent { enable = true; inherit port; });
  units = lib.mapAttrs (_: render "") {
    disabled = guestAgent { };
    plain = guestAgent { enable = true; };
    activated = guestAgent {
      enable = true;
      port = 2048;
      socketActivation = true;
    };
    hardened = guestAgent {
      enable = true;
      allowedCids = [ 1 7 ];
      hardening = true;
    };
    host = host { enable = true; };
  };
}
