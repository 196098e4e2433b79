# The lean kernel of nix/kernel/*.config: what a guest needs is built in, and it has no modules. Compiled, since no cache has it.
{ lib
, runCommand
, guest
,
}:
let
  inherit (guest.compiled) stdenv buildPackages linuxManualConfig;
  # A series with support for years, the one that the options were tried with (scripts/check-kernel-config.sh).
  source = guest.compiled.linuxKernel.kernels.linux_6_12;
  # CONFIG_LOCALVERSION in nix/kernel/common.config.
  release = "${source.modDirVersion}-smolvm";
  options = [
    ../kernel/common.config
    (../kernel + "/${guest.arch}.config")
  ];
  # The whole configuration, by the compiler that the kernel is built with: Kconfig asks what it can do.
  configuration = stdenv.mkDerivation {
    name = "smolvm-kernel-lean-${guest.arch}.config";
    inherit (source) src;
    depsBuildBuild = [ buildPackages.stdenv.cc ];
    nativeBuildInputs = [
      buildPackages.bison
      buildPackages.flex
      buildPackages.perl
    ];
    postPatch = "patchShebangs scripts";
    configurePhase = ''
      cat ${lib.concatMapStringsSep " " toString options} >all.config
    '';
    buildPhase = ''
      make ARCH=${stdenv.hostPlatform.linuxArch} CROSS_COMPILE=${stdenv.cc.targetPrefix} KCONFIG_ALLCONFIG=all.config alldefconfig
    '';
    installPhase = ''
      cp .config $out
    '';
    dontFixup = true;
  };
  kernel =
    (linuxManualConfig {
      inherit (source) version src;
      modDirVersion = release;
      configfile = configuration;
      # The machines that boot it bring their own.
      buildDTBs = false;
      # Read from the file otherwise, which would have to be built to evaluate this.
      config.CONFIG_MODULES = "n";
    }).overrideAttrs
      {
        # The image builder asks there whether a driver needs a module.
        postInstall = ''
          install -D -m 444 modules.builtin $out/lib/modules/${release}/modules.builtin
        '';
      };
in
runCommand "smolvm-kernel-lean-${guest.arch}-${source.version}"
{
  passthru = { inherit kernel configuration; };
  meta = {
    description = "A guest's kernel with all that it needs built in, and no modules";
    license = lib.licenses.gpl2Only;
    platforms = lib.platforms.linux;
  };
}
  ''
    mkdir -p $out/lib
    cp ${kernel}/${guest.kernelFile} $out/vmlinuz
    cp -r ${kernel}/lib/modules $out/lib/modules
  ''
