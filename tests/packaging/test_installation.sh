#!/usr/bin/env bash
# test_installation.sh BUILD_FOLDER SOURCE_FOLDER CMAKE: installs, moves the installation, and uses it without the source tree.
set -euo pipefail
build=$1 source=$2
# shellcheck source=tests/packaging/packaging.sh
source "$(dirname "${BASH_SOURCE[0]}")/packaging.sh"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$3" --install "$build" --prefix "$folder/first" >/dev/null
mv "$folder/first" "$folder/moved"
check_installation "$folder/moved"
