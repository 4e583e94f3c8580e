#!/usr/bin/env bash
# test_version.sh SOURCE_FOLDER CMAKE: what cmake/write_version.cmake makes of a folder without git, inside another repository, of
# a commit, a changed file and a tag; and that it leaves a file alone that would not change.
set -euo pipefail
source=$1 cmake=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
tree=$folder/outer/tree
mkdir -p "$tree"
export GIT_CONFIG_GLOBAL=/dev/null GIT_AUTHOR_NAME=test GIT_AUTHOR_EMAIL=test GIT_COMMITTER_NAME=test GIT_COMMITTER_EMAIL=test

# version_is PATTERN
version_is() {
  "$cmake" -D VERSION=1.2.3 -D SOURCE_DIR="$tree" -D OUTPUT="$folder/version.cpp" -P "$source/cmake/write_version.cmake"
  local version
  version=$(sed -n 's/.*return "\(.*\)";/\1/p' "$folder/version.cpp")
  # shellcheck disable=SC2053  # a pattern
  [[ $version == $1 ]] || { echo "the version is '$version', not '$1'" >&2; exit 1; }
}

version_is 1.2.3
git init -q "$folder/outer"
git -C "$folder/outer" commit -q --allow-empty -m outer
version_is 1.2.3
git init -q "$tree"
echo one >"$tree/file"
git -C "$tree" add file
git -C "$tree" commit -q -m one
version_is "1.2.3-g$(git -C "$tree" rev-parse --short HEAD)"
touch -d 2000-01-01 "$folder/version.cpp"
version_is "1.2.3-g*"
[[ $(date -r "$folder/version.cpp" +%Y) == 2000 ]] || { echo 'an unchanged version was written again' >&2; exit 1; }
echo two >"$tree/file"
version_is "1.2.3-g*-dirty"
git -C "$tree" tag v1.3.0
version_is 1.3.0-dirty
git -C "$tree" commit -q -a -m two
version_is "1.3.0-1-g*"
