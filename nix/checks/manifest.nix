# Each image is what its manifest says.
{ runCommand
, smolctl
, part
,
}:
runCommand "manifest-${part.arch}" { nativeBuildInputs = [ smolctl ]; } ''
  for image in ${part.image} ${part.imageSsh}; do
    smolctl image verify $image
  done
  touch $out
''
