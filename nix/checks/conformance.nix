# The shipped agent keeps every promise of the protocol; one of another architecture than the builder's under an emulator.
{ lib
, runCommand
, stdenv
, python3
, qemu-user
, sources
, part
,
}:
let
  python = python3.withPackages (packages: [
    packages.pytest
    packages.pytest-xdist
  ]);
  isNative = stdenv.buildPlatform.canExecute part.guest.musl.stdenv.hostPlatform;
  runner = lib.optionalString (!isNative) "--runner ${qemu-user}/bin/qemu-${part.arch}";
in
runCommand "conformance-${part.arch}" { nativeBuildInputs = [ python ]; } ''
  export HOME=$PWD PYTHONDONTWRITEBYTECODE=1
  cp -r ${sources.conformance} source
  cd source
  # Most cases wait more than they work.
  python3 -m pytest tests/conformance -q -n 8 --maxschedchunk 1 -p no:cacheprovider \
    --agent ${lib.getExe part.guestAgent} ${runner}
  touch $out
''
