#!/usr/bin/env bash
# Includes go one way: apps -> lib -> kernels. Within lib, the stages (train, eval, generate, inspect) include model but not each
# other, and core, text, data, tasks and report do without LibTorch. Each library has a namespace.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
status=0

# forbid FOLDERS PATTERN: no file of FOLDERS includes what PATTERN names.
forbid() {
  local folders
  read -ra folders <<<"$1"
  grep -rnE --include='*.h' --include='*.cpp' "^ *# *include *[<\"]($2)" "${folders[@]}" && status=1
  (($(find "${folders[@]}" -name '*.h' -o -name '*.cpp' | wc -l))) || { echo "no sources in $1"; status=1; }
}

forbid 'kernels' 'lib/|apps/|tests/'
forbid 'lib' 'apps/|tests/'
forbid 'apps' 'tests/'
# The random numbers of kernels/common/philox.h are plain arithmetic, for everyone.
forbid 'kernels/common/philox.h' 'ATen/|torch/|c10/|kernels/'
forbid 'lib/core lib/text lib/data lib/tasks lib/report' 'ATen/|torch/|c10/|kernels/([^c]|common/[^p])|lib/(model|train|eval|generate|inspect)/'
forbid 'lib/core' 'lib/(text|data|tasks)/'
forbid 'lib/text' 'lib/(data|tasks)/'
forbid 'lib/data' 'lib/tasks/'
forbid 'lib/parallel' 'lib/[^cp]'
forbid 'lib/model' 'lib/(train|eval|generate|inspect|bench)/'
# Backbones are kinds of one list: outside lib/model nobody includes one, parts do not know them, nor they each other.
forbid 'lib/train lib/eval lib/generate lib/inspect lib/bench lib/report apps' 'lib/model/backbones/'
forbid 'lib/model/layers' 'lib/model/(backbones|memory)/'
grep -rnE '^ *# *include *"lib/model/backbones/' lib/model/backbones |
  grep -vE '^lib/model/backbones/([^/]+)/.*"lib/model/backbones/\1/' && status=1
# The stages do not include each other; lib/bench, which times them, includes those that it times.
forbid 'lib/train' 'lib/(eval|generate|inspect|bench)/'
forbid 'lib/eval' 'lib/(train|generate|inspect|bench)/'
forbid 'lib/generate' 'lib/(train|eval|inspect|bench)/'
forbid 'lib/inspect' 'lib/(train|eval|generate|bench)/'

# Each library has its own namespace, gca::FOLDER (gca alone: lib/core), so two libraries cannot define one name twice.
# Another library's namespace is opened for forward declarations only.
for folder in lib/*/; do
  name=$(basename "$folder")
  namespace=gca::$name
  [[ $name == core ]] && namespace=gca
  while read -r file; do
    awk -v own="namespace $namespace {" -v file="$file" '
      after_foreign && !/^(class|struct) [A-Za-z]+;$/ { print file ":" NR ": defines something in another namespace than " own; bad = 1 }
      { after_foreign = /^namespace gca.* \{$/ && $0 != own }
      $0 == own { opened = 1 }
      END { if (!opened) { print file ": does not open " own; bad = 1 } exit bad }' "$file" || status=1
    # gloo_names.h declares what LibTorch's headers expect of Gloo.
  done < <(find "$folder" \( -name '*.h' -o -name '*.cpp' \) -not -path lib/parallel/gloo_names.h)
done
exit $status
