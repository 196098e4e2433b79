# An image is a function of its inputs: built once more, in another derivation, it has the same bytes.
{ runCommand
, smolctl
, part
,
}:
let
  again = image: image.override { name = "${image.name}-again"; };
in
runCommand "image-twice-${part.arch}" { nativeBuildInputs = [ smolctl ]; } ''
  smolctl image diff ${part.image} ${again part.image}
  diff -r ${part.image} ${again part.image}
  smolctl image diff ${part.imageSsh} ${again part.imageSsh}
  diff -r ${part.imageSsh} ${again part.imageSsh}
  touch $out
''
