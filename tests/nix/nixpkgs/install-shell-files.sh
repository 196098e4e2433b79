# installManPage and installShellCompletion of pkgs/by-name/in/installShellFiles/setup-hook.sh, for the calls that we make.
installManPage() {
    local page
    for page in "$@"; do install -D -m 644 "$page" "$out/share/man/man${page##*.}/$(basename -- "$page")"; done
}

installShellCompletion() {
    [ $# = 4 ] && [ "$1" = --cmd ] || { echo "installShellCompletion: want --cmd NAME --SHELL FILE" >&2; return 1; }
    case $3 in
    --bash) install -D -m 644 "$4" "$out/share/bash-completion/completions/$2.bash" ;;
    --fish) install -D -m 644 "$4" "$out/share/fish/vendor_completions.d/$2.fish" ;;
    --zsh) install -D -m 644 "$4" "$out/share/zsh/site-functions/_$2" ;;
    *) echo "installShellCompletion: unknown shell $3" >&2; return 1 ;;
    esac
}
