#!/usr/bin/env bash
# test_installation.sh BUILD_FOLDER CMAKE: installs into a folder of its own and looks at what is there.
set -euo pipefail
prefix=$(mktemp -d)
trap 'rm -rf "$prefix"' EXIT
"$2" --install "$1" --prefix "$prefix" >/dev/null

for file in bin/gca libexec/gca/gca-tensor share/man/man1/gca.1 share/man/man1/gca-pretrain.1 \
  share/bash-completion/completions/gca share/zsh/site-functions/_gca share/fish/vendor_completions.d/gca.fish; do
  [[ -s $prefix/$file ]] || { echo "not installed: $file" >&2; exit 1; }
done
for name in $("$prefix/bin/gca" help | sed -n '/^Subcommands:/,$s/^  \([a-z-]*\) .*/\1/p'); do
  [[ -s $prefix/share/man/man1/gca-$name.1 ]] || { echo "no man page: gca-$name" >&2; exit 1; }
done
status=0
message=$("$prefix/bin/gca" generate --checkpoint "$prefix" --prompt x 2>&1) || status=$?
[[ $status == 2 && $message == *config.json* ]] || { echo "gca-tensor does not start: $message" >&2; exit 1; }
