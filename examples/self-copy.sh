#!/usr/bin/env bash
# Does retrieval learn? Random passages are repeated from beyond everything that the windows reach: four layers of a
# window of 8 see 32 positions back, the passage lies 64. The model with retrieval begins with the residual a + lambda o,
# lambda 1, and ends as the paper's, lambda 0; the same model without retrieval has nothing to go by. The size is mini;
# about seven minutes on two cores.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly gca=${GCA:-build/apps/gca}
readonly out=${OUT:-out/self-copy}

# train NAME STEPS SETTING...
train() {
  local settings=()
  for setting in "${@:3}"; do settings+=(--set "$setting"); done
  printf '\n== %s\n' "$1"
  "$gca" pretrain --task self-copy --config mini --overwrite --output "$out/$1" --steps "$2" --batch 8 --seed 1 \
    --set vocab_size=64 --set sliding_window=8 --set eval_interval=50 --set eval_sequences=64 "${settings[@]}"
}

train retrieval 1300 residual_blend_begin=900 residual_blend_end=1100
train sliding-window 1300 long_range=none

printf '\n%-16s %10s %10s\n' model copied chance
for name in retrieval sliding-window; do
  /usr/bin/python3 - "$out/$name/report.json" "$name" <<'PYTHON'
import json, sys
result = json.load(open(sys.argv[1]))["result"]
print(f"{sys.argv[2]:16} {100 * result['copy_accuracy']:8.1f} % {100 * result['copy_chance']:8.1f} %")
PYTHON
done
