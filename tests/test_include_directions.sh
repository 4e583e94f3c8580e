#!/usr/bin/env bash
# Includes go one way: apps -> lib -> kernels. Within lib, the stages (train, eval, generate, inspect) include model but not each
# other, and core, text, data, tasks and report do without LibTorch.
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
exit $status
