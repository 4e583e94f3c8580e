#!/usr/bin/env bash
# test_packages.sh BUILD_FOLDER SOURCE_FOLDER CPACK: packs, looks into both packages, and uses what they hold without the source tree.
set -euo pipefail
build=$1 source=$2
# shellcheck source=tests/packaging/packaging.sh
source "$(dirname "${BASH_SOURCE[0]}")/packaging.sh"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$3" --config "$build/CPackConfig.cmake" -B "$folder" >"$folder/log" 2>&1 || { cat "$folder/log" >&2; exit 1; }
rm -rf "$folder/_CPack_Packages"

# Every library that a file of the package is linked with is in the package, or in a package that it depends on.
deb=("$folder"/gca_*.deb)
dpkg-deb -x "${deb[0]}" "$folder/deb"
depends=$(dpkg-deb -f "${deb[0]}" Depends)
for name in libc6 libstdc++6 libfmt9 libsentencepiece0 libpcre2-8-0 libutf8proc2; do
  [[ ", $depends" == *", $name"* ]] || fail "the .deb does not depend on $name, but on $depends"
done
names=$(for file in "$folder"/deb/usr/bin/gca "$folder"/deb/usr/libexec/gca/*; do [[ -d $file ]] || needs "$file"; done | sort -u)
for name in $names; do
  [[ ! -e $folder/deb/usr/libexec/gca/$name ]] || continue
  library=$(ldconfig -p | sed -n "s/^\t$name (.*x86-64.*) => //p" | head -n 1)
  [[ -n $library ]] || fail "the .deb needs $name, which is nowhere"
  path=$(realpath "$library")
  # Packages may name their files without the /usr that /lib has become a link to.
  package=$({ dpkg -S "$path" || dpkg -S "${path#/usr}"; } 2>/dev/null) || fail "$path belongs to no package"
  package=${package%%:*}
  [[ ", $depends" == *", $package"[\ ,]* || $depends == *", $package" ]] ||
    fail "the .deb needs $name of $package, which it does not depend on: $depends"
done
check_installation "$folder/deb/usr"
rm -rf "$folder/deb"

mkdir "$folder/tar"
tar -xzf "$folder"/gca-*.tar.gz -C "$folder/tar" --strip-components=1
check_installation "$folder/tar"
