# The guest agent is one static program that names nothing of the store.
{ runCommand
, binutils-unwrapped
, part
,
}:
runCommand "static-${part.arch}" { nativeBuildInputs = [ binutils-unwrapped ]; } ''
  agent=${part.guestAgent}/bin/smolvm-guest-agent
  headers=$(readelf --wide --file-header --program-headers --dynamic $agent)
  case $headers in
  *INTERP* | *'(NEEDED)'*) echo "$agent wants a loader or a library"; exit 1 ;;
  *'${if part.arch == "x86_64" then "X86-64" else "AArch64"}'*) ;;
  *) echo "$agent is not built for ${part.arch}"; exit 1 ;;
  esac
  # crane writes e's where a hash of the toolchain or of vendored sources stood; such a path names nothing.
  if grep -ao "$NIX_STORE/[a-z0-9]\{32\}" $agent | grep -v '/e\{32\}$'; then
    echo "$agent names a path of the store"
    exit 1
  fi
  touch $out
''
