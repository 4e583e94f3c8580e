#!/usr/bin/env bash
# Two settings, three seeds each, side by side on one page: retrieval and the sliding window alone, trained alike on the books
# in examples/books and measured by context length. Five minutes on two cores; STEPS, SEEDS, CONFIG, SETTINGS ("KEY=VALUE
# KEY=VALUE ...", one a setting) and CONTEXTS make another sweep of it. Runs that are complete are not made again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly gca=${GCA:-build/apps/gca}
readonly books=${BOOKS:-examples/books}
readonly out=${OUT:-out/sweep}
readonly config=${CONFIG:-nano}
readonly steps=${STEPS:-300}
readonly contexts=${CONTEXTS:-512,1K,2K,4K}
read -ra seeds <<<"${SEEDS:-1 2 3}"
read -ra settings <<<"${SETTINGS:-long_range=gca long_range=none}"

say() { printf '\n== %s\n' "$*"; }
mkdir -p "$out"

if [[ ! -e $out/valid/index.json ]]; then
  say 'Books into sequences'
  "$gca" tokenize "$books/train" --train-vocab 2048 --output "$out/train-tokens" --quiet
  "$gca" tokenize "$books/valid" --tokenizer "$out/train-tokens/tokenizer.model" --output "$out/valid-tokens" --quiet
  "$gca" chunk --tokens "$out/train-tokens" --output "$out/train" --chunk-size 16 --context 512 --quiet
  "$gca" chunk --tokens "$out/valid-tokens" --output "$out/valid" --chunk-size 16 --context 512 --quiet
fi

runs=()
for setting in "${settings[@]}"; do
  for seed in "${seeds[@]}"; do
    run=$out/$setting-seed-$seed
    runs+=("$run")
    if [[ ! -e $run/report.json ]]; then
      say "$setting, seed $seed"
      "$gca" pretrain --data "$out/train" --valid "$out/valid" --config "$config" --set "$setting" --seed "$seed" \
        --steps "$steps" --set chunk_size=16 --set eval_interval=50 --overwrite --output "$run"
    fi
    [[ -e $run/eval.json ]] ||
      "$gca" eval --checkpoint "$run" --data "$out/valid" --context "$contexts" --max-tokens 16K --quiet \
        --report "$run/eval.json"
  done
done

say 'Side by side'
"$gca" report "${runs[@]}" --html "$out/report.html" --csv "$out/report.csv"
