# An image, made by our own builder in the derivation: the same code and the same inputs as outside Nix.
{ lib
, stdenvNoCC
, e2fsprogs
, smolctl
, # guest-agent, busybox, kernel of the guest's architecture
  guestAgent
, busybox
, kernel
, arch
, # A built-in variant, or a layout of one's own.
  variant ? "minimal"
, layout ? null
, # Where the layout's programs and trees come from; null where it has none.
  packages ? null
, diskMib ? null
, name ? "smolvm-image-${variant}-${arch}"
,
}:
let
  options =
    [
      "--arch ${arch}"
      "--kernel ${kernel}/vmlinuz"
      "--modules ${kernel}/lib/modules"
      "--busybox ${busybox}/bin/busybox"
      "--agent ${guestAgent}/bin/smolvm-guest-agent"
    ]
    ++ (if layout == null then [ "--variant ${variant}" ] else [ "--layout ${layout}" ])
    ++ lib.optionals (packages != null) [ "--packages ${packages}" ]
    ++ lib.optionals (diskMib != null) [ "--disk-size ${toString diskMib}" ];
in
stdenvNoCC.mkDerivation {
  inherit name;
  # Files of an image may hold names of the store, without needing what they name.
  __structuredAttrs = true;
  unsafeDiscardReferences.out = true;
  dontUnpack = true;
  dontFixup = true;
  nativeBuildInputs = [
    smolctl
    e2fsprogs
  ];
  buildPhase = ''
    runHook preBuild
    smolctl image build ${lib.concatStringsSep " " options} --output image
    smolctl image verify image
    runHook postBuild
  '';
  installPhase = ''
    runHook preInstall
    cp -r image $out
    runHook postInstall
  '';
  passthru = { inherit arch kernel variant; };
  meta = {
    description = "A guest image of the variant ${variant} for ${arch}: kernel, root and manifest";
    platforms = lib.platforms.linux;
  };
}
