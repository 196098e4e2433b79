# The stock kernel of nixpkgs as an image takes it: its file, and the modules that a guest may need. Both come from
# nixpkgs' cache; nothing is compiled.
{ lib
, runCommand
, makeModulesClosure
, guest
,
}:
let
  kernel = guest.native.linuxPackages.kernel;
  modules = makeModulesClosure {
    kernel = kernel.modules;
    # None of these modules wants any.
    firmware = kernel;
    # What the layouts of images/ ask for, and what their variants may have built in.
    rootModules = [
      "ext4"
      "virtio_blk"
      "virtio_mmio"
      "virtio_net"
      "virtio_pci"
      "vmw_vsock_virtio_transport"
      "vsock_loopback"
    ];
    allowMissing = true;
  };
in
runCommand "smolvm-kernel-${guest.arch}-${kernel.version}"
{
  passthru = { inherit kernel modules; };
  meta = {
    description = "A guest's kernel and the modules that it may need";
    license = lib.licenses.gpl2Only;
    platforms = lib.platforms.linux;
  };
}
  ''
    mkdir -p $out/lib
    cp ${kernel}/${guest.kernelFile} $out/vmlinuz
    cp -r ${modules}/lib/modules $out/lib/modules
    chmod -R u+w $out/lib/modules
    # Which of the wanted ones need no file: makeModulesClosure leaves that list out.
    for version in $(ls $out/lib/modules); do
      cp ${kernel.modules}/lib/modules/$version/modules.builtin $out/lib/modules/$version/
    done
  ''
