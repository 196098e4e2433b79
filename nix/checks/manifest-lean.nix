# The image with the lean kernel is what its manifest says: to build this is to compile that kernel.
{ runCommand
, smolctl
, part
,
}:
runCommand "manifest-lean-${part.arch}" { nativeBuildInputs = [ smolctl ]; } ''
  smolctl image verify ${part.imageLean}
  touch $out
''
