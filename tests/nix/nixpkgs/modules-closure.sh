# usage: modules-closure.sh KERNEL OUT, with rootModules and allowMissing set as pkgs/build-support/kernel/modules-closure.sh has
# them. Leaves the modules with what they need below OUT/lib/modules/VERSION.
set -euo pipefail
kernel=$1 out=$2
version=$(ls "$kernel/lib/modules")
# No modules.dep is in a package that was never installed, and a store's tree cannot be written to.
cp -r "$kernel" tree
chmod -R u+w tree
/usr/sbin/depmod -b "$PWD/tree" "$version"
mkdir -p "$out/lib/modules/$version"
for module in $rootModules; do
    needed=$(/usr/sbin/modprobe --config /dev/null -d "$PWD/tree" --set-version "$version" --show-depends "$module") ||
        [ -n "$allowMissing" ] || exit 1
    while read -r kind file _; do
        [ "$kind" = insmod ] || continue
        place=$out/${file#"$PWD/tree/"}
        install -D -m 444 "$file" "$place"
    done <<<"$needed"
done
