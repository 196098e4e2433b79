# The packages of nixpkgs that our flake uses, and no others, for a system or across to a target; behind each, the file of
# nixpkgs that it was looked up in. What they are made of is this machine's (host.nix, written by scripts/check-nix): a tool is
# a name for a program of its PATH, a kernel is Debian's, and so is what guests get.
{ lib
, system
, # A target's configuration, for a set that is compiled across.
  target ? null
, root
,
}:
let
  host = import (root + "/host.nix");
  cpuOf = builtins.replaceStrings [ "-linux" "-unknown-linux-gnu" "-unknown-linux-musl" ] [ "" "" "" ];
  # lib/systems/default.nix
  platform = config: {
    inherit config;
    system = "${cpuOf config}-linux";
    parsed.cpu.name = cpuOf config;
    linuxArch = if cpuOf config == "aarch64" then "arm64" else cpuOf config;
    isMusl = builtins.match ".*-musl" config != null;
    isStatic = false;
    canExecute = other: cpuOf other.config == cpuOf config;
    rust.rustcTarget = config;
  };
  build = "${cpuOf system}-unknown-linux-gnu";
  config = if target == null then build else target;
  cpu = cpuOf config;
  across = config: import ./packages.nix { inherit lib system root; target = config; };

  inherit (import ./derivation.nix { inherit lib system host; }) mkDerivation runCommand;

  # A program of this machine: on the PATH of every build, whoever asks for it.
  tool = name: mainProgram: {
    inherit name;
    outPath = "/usr";
    meta = { inherit mainProgram; };
  };
  # By itself, so that nothing is built anew for what it does not use.
  input = name: builtins.path { path = root + "/inputs/${name}-${cpu}"; name = "${name}-${cpu}"; };
  # A package of another origin that takes nixpkgs' arguments, and refuses any other.
  takes =
    names: package:
    package
    // {
      override =
        changed:
        let
          unknown = lib.attrNames (builtins.removeAttrs changed names);
        in
        if unknown == [ ] then package else throw "${package.name} takes no ${lib.concatStringsSep ", " unknown}";
    };
  copied = name: script: runCommand name { } "mkdir -p $out; ${script}";

  self = {
    inherit lib runCommand;
    # pkgs/stdenv/generic/make-derivation.nix
    stdenv = {
      inherit mkDerivation;
      # pkgs/build-support/cc-wrapper/default.nix
      cc = tool "gcc" "cc" // { targetPrefix = if target == null then "" else "${config}-"; };
      buildPlatform = platform build;
      hostPlatform = platform config;
    };
    stdenvNoCC = self.stdenv;
    # pkgs/top-level/stage.nix
    buildPackages = import ./packages.nix { inherit lib system root; };
    # pkgs/top-level/splice.nix
    callPackage = lib.callPackageWith self;
    # pkgs/top-level/stage.nix, lib/systems/examples.nix
    pkgsCross = {
      musl64 = across "x86_64-unknown-linux-musl";
      aarch64-multiplatform-musl = across "aarch64-unknown-linux-musl";
      gnu64 = across "x86_64-unknown-linux-gnu";
      aarch64-multiplatform = across "aarch64-unknown-linux-gnu";
    };
    pkgsStatic = {
      # pkgs/os-specific/linux/busybox/default.nix
      busybox = copied "busybox-${cpu}" "install -D -m 755 ${input "busybox"} $out/bin/busybox";
      # pkgs/by-name/dr/dropbear/package.nix
      dropbear = takes [ "sftpPath" "enableSCP" ] (
        copied "dropbear-${cpu}" "cp -r ${input "ssh-packages"}/. $out; chmod -R u+w $out; mkdir -p $out/bin; cp $out/usr/sbin/dropbear $out/usr/bin/dropbearkey $out/bin/"
      );
      # pkgs/tools/networking/openssh/common.nix
      openssh = takes [ "linkOpenssl" "withLdns" "withFIDO" "withKerberos" "withPAM" ] (
        copied "openssh-${cpu}" "install -D -m 755 ${input "ssh-packages"}/usr/lib/openssh/sftp-server $out/libexec/sftp-server"
      );
    };
    # pkgs/top-level/linux-kernels.nix, pkgs/os-specific/linux/kernel/build.nix. Not built: a guest of another architecture has
    # its kernel from nixpkgs' cache, too.
    linuxPackages.kernel = {
      name = "linux-${cpu}";
      outPath = input "kernel";
      version = "6.12";
      modules = {
        name = "linux-${cpu}-modules";
        outPath = input "kernel-modules";
      };
    };
    # pkgs/top-level/linux-kernels.nix, pkgs/os-specific/linux/kernel/mainline.nix
    linuxKernel.kernels.linux_6_12 = {
      version = "6.12";
      modDirVersion = "6.12.0";
      # Named and never unpacked: nothing is compiled of it.
      src = runCommand "linux-6.12.tar.xz" { } "touch $out";
    };
    # pkgs/os-specific/linux/kernel/build.nix. What it hands out was not compiled: it is Debian's kernel with Debian's modules.
    linuxManualConfig =
      { version
      , src
      , modDirVersion
      , configfile
      , config
      , buildDTBs
      ,
      }:
        assert src.name != "" && modDirVersion != version && config ? CONFIG_MODULES && !buildDTBs;
        {
          overrideAttrs = { postInstall }: builtins.seq (builtins.stringLength postInstall) (
            runCommand "linux-${version}-${cpu}" { passthru = { inherit configfile; }; } ''
              mkdir -p $out
              cp -r ${self.linuxPackages.kernel}/. ${self.linuxPackages.kernel.modules}/. $out/
            ''
          );
        };
    # pkgs/build-support/kernel/modules-closure.nix
    makeModulesClosure =
      { kernel
      , firmware
      , rootModules
      , allowMissing ? false
      , extraFirmwarePaths ? [ ]
      ,
      }:
        assert firmware ? outPath && extraFirmwarePaths == [ ];
        runCommand "${kernel.name}-shrunk" { inherit rootModules allowMissing; nativeBuildInputs = [ (tool "kmod" "modprobe") ]; } ''
          bash ${./modules-closure.sh} ${kernel} $out
        '';
    # pkgs/build-support/closure-info.nix
    closureInfo =
      { rootPaths }:
      mkDerivation {
        name = "closure-info";
        __structuredAttrs = true;
        exportReferencesGraph.closure = rootPaths;
        dontUnpack = true;
        buildPhase = ''
          mkdir -p $out
          python3 -c 'import json, sys; print(*sorted(each["path"] for each in json.load(open(sys.argv[1]))["closure"]), sep="\n")' "$NIX_ATTRS_JSON_FILE" >$out/store-paths
        '';
        installPhase = "true";
      };
    # pkgs/build-support/trivial-builders/default.nix
    writeShellApplication =
      { name
      , text
      , runtimeInputs ? [ ]
      , meta ? { }
      ,
      }:
      runCommand name
        {
          meta = { mainProgram = name; } // meta;
          script = "#!/bin/bash\nset -o errexit -o nounset -o pipefail\nexport PATH=${lib.concatMapStringsSep ":" (each: "${each}/bin") runtimeInputs}:${host.path}\n${text}";
        }
        ''
          mkdir -p $out/bin
          printf '%s\n' "$script" >$out/bin/${name}
          chmod 755 $out/bin/${name}
          bash -n $out/bin/${name}
        '';
    # nixos/lib/testing/default.nix, by pkgs/build-support/testers/default.nix
    testers.runNixOSTest = import ./nixos-test.nix { inherit lib runCommand; };
    # pkgs/build-support/mkshell/default.nix
    mkShell = { packages ? [ ], inputsFrom ? [ ] }: runCommand "shell" { inherit packages inputsFrom; } "mkdir -p $out";

    # pkgs/by-name/in/installShellFiles
    bison = tool "bison" "bison"; # pkgs/by-name/bi/bison
    flex = tool "flex" "flex"; # pkgs/by-name/fl/flex
    perl = tool "perl" "perl"; # pkgs/development/interpreters/perl
    installShellFiles = ./install-shell-files.sh;
    nixpkgs-fmt = tool "nixpkgs-fmt" "nixpkgs-fmt"; # pkgs/by-name/ni/nixpkgs-fmt
    binutils-unwrapped = tool "binutils" "readelf"; # pkgs/development/tools/misc/binutils
    cargo-deny = tool "cargo-deny" "cargo-deny"; # pkgs/by-name/ca/cargo-deny
    cargo-nextest = tool "cargo-nextest" "cargo-nextest"; # pkgs/by-name/ca/cargo-nextest
    coreutils = tool "coreutils" "ls"; # pkgs/tools/misc/coreutils
    deadnix = tool "deadnix" "deadnix"; # pkgs/by-name/de/deadnix
    e2fsprogs = tool "e2fsprogs" "mke2fs"; # pkgs/by-name/e2/e2fsprogs
    hello = copied "hello" "mkdir $out/bin; printf '#!/bin/sh\\necho Hello, world!\\n' >$out/bin/hello; chmod 755 $out/bin/hello; ln $out/bin/hello $out/bin/hello-linked"; # pkgs/by-name/he/hello
    # pkgs/development/interpreters/python/with-packages.nix, of pkgs/development/python-modules
    python3 = tool "python3" "python3" // {
      withPackages = choose: builtins.deepSeq (choose { pytest = 1; pytest-xdist = 1; }) (tool "python3" "python3");
    };
    qemu-user = tool "qemu-user" "qemu-x86_64"; # pkgs/top-level/all-packages.nix
    qemu = tool "qemu" "qemu-system-x86_64"; # pkgs/by-name/qe/qemu
    vhost-device-vsock = tool "vhost-device-vsock" "vhost-device-vsock"; # pkgs/by-name/vh/vhost-device-vsock

    standIn = {
      inherit host;
      # What is worth building here: scripts/test runs the others without Nix, or only a real nixpkgs can.
      builds = name: builtins.elem name host.checks;
    };
  };
in
self
