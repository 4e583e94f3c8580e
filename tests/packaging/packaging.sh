# shellcheck shell=bash
# What the tests of this folder have in common; each sets `source` and `build`, and sources this.
: "${source:?}" "${build:?}"

fail() { printf '%s\n' "$*" >&2; exit 1; }

# hidden COMMAND...: runs it where the source and build trees are empty folders, in a mount namespace of its own.
hidden() {
  local flags=(--mount)
  ((EUID == 0)) || flags+=(--map-root-user)
  # In a chroot, mounts cannot be made private; those below end with the command.
  unshare "${flags[@]}" true 2>/dev/null || flags+=(--propagation unchanged)
  # shellcheck disable=SC2016  # expanded by the inner shell
  unshare "${flags[@]}" bash -c '
    hide=() status=0
    for folder in "$1" "$2"; do
      if [[ -e $folder ]]; then mount -t tmpfs none "$folder" && hide+=("$folder") || exit 1; fi
    done
    [[ ! -e $1/CMakeLists.txt && ! -e $2/CMakeCache.txt ]] || { echo "the source tree is not hidden" >&2; exit 1; }
    cd / && "${@:3}" || status=$?
    umount "${hide[@]}"
    exit $status' hidden "$source" "$build" "$@"
}

# needs FILE: names of the libraries that an executable or a library is linked with.
needs() { LC_ALL=C readelf -d "$1" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }

# check_installation PREFIX: that everything is there, that the programs look for libraries beside themselves alone, and that they
# work where there is no source tree.
check_installation() {
  local prefix=$1 file name path answer
  for file in bin/gca libexec/gca/gca-tensor libexec/gca/start-up/mini/model.safetensors share/man/man1/gca.1 \
    share/bash-completion/completions/gca share/zsh/site-functions/_gca share/zsh/vendor-completions/_gca \
    share/fish/vendor_completions.d/gca.fish \
    share/doc/gca/copyright share/doc/gca/README.md share/doc/gca/CHANGELOG.md; do
    [[ -s $prefix/$file ]] || fail "not installed: $file"
  done
  for file in "$prefix"/bin/gca "$prefix"/libexec/gca/gca-tensor; do
    path=$(LC_ALL=C readelf -d "$file" | sed -n 's/.*(R[A-Z]*PATH).*\[\(.*\)\]/\1/p')
    [[ -z $path || $path == "\$ORIGIN" ]] || fail "$file looks for libraries in $path"
  done

  [[ $(hidden "$prefix/bin/gca" --version) == "gca "[0-9]* ]] || fail "gca --version does not work"
  for name in $(hidden "$prefix/bin/gca" help | sed -n '/^Subcommands:/,$s/^  \([a-z-]*\) .*/\1/p'); do
    [[ -s $prefix/share/man/man1/gca-$name.1 ]] || fail "no man page: gca-$name"
  done
  cp -r "$source/examples/passkey" "$prefix/checkpoint"
  answer=$(hidden "$prefix/bin/gca" generate --checkpoint "$prefix/checkpoint" --prompt 'It was' --max-new-tokens 3 \
    --threads 1 --json) || fail "gca-tensor does not work without the source tree"
  rm -r "$prefix/checkpoint"
  [[ $answer == *'"gca.generate/1"'* ]] || fail "gca generate printed no report: $answer"
}
