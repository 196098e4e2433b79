# The builder of derivation.nix: as much of nixpkgs' setup.sh (pkgs/stdenv/generic/setup.sh) as our phases need.
set -euo pipefail
umask 022
if [ -n "${NIX_ATTRS_SH_FILE-}" ]; then
    # shellcheck source=/dev/null
    . "$NIX_ATTRS_SH_FILE"
    out=${outputs[out]} hooks=("${hooks[@]}")
    export out PATH
else
    read -ra hooks <<<"$hooks"
fi
export LC_ALL=C SOURCE_DATE_EPOCH=1 HOME=$PWD/home
mkdir -p "$HOME"

runHook() { local text=${!1-}; eval "$text"; }

for hook in "${hooks[@]}"; do
    # shellcheck source=/dev/null
    . "$hook"
done
if [ -z "${dontUnpack-}" ]; then
    cp -r "$src" source
    chmod -R u+w source
    cd source
fi
eval "${postPatch-}"
eval "${configurePhase-}"
eval "${buildPhase-}"
eval "${installPhase-}"
eval "${postInstall-}"
