#!/usr/bin/env bash
# Does retrieval pay on a corpus of your own? Trains a table of models alike, evaluates each at 1, 2, 4 and 8 times the trained length,
# and writes a page (report.html), a CSV file and a Markdown table (table.md).
#
#     examples/compare.sh CORPUS [--tokens 50M] [--seeds 1,2] [--threads N] [--config mini] [--context 1984] [--batch N]
#                         [--vocab 4096] [--eval-tokens 128K] [--eval-every 500] [--rows NAME,...] [--output out/compare]
#
# CORPUS is a folder with train/ and valid/. Days of runs may be stopped at any moment: the same command goes on where it stopped, skips what
# is complete and resumes what was interrupted. GCA names another gca, PYTHON another python.
set -euo pipefail

corpus='' tokens=50M seeds=1,2 threads=$(nproc) config=mini context=1984 batch='' vocab=4096 eval_tokens=128K eval_every=500
rows_wanted=window,window-start-up,gca-1,gca-2,no-rounding,no-noise output=out/compare
gca=${GCA:-$(dirname "${BASH_SOURCE[0]}")/../build/apps/gca}
python=${PYTHON:-/usr/bin/python3}

refuse() {
  printf 'compare.sh: %s\n' "$*" >&2
  exit 2
}

while (($#)); do
  case $1 in
    -h | --help)
      sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    --*=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --tokens | --seeds | --threads | --config | --context | --batch | --vocab | --eval-tokens | --eval-every | --rows | --output)
      (($# > 1)) || refuse "$1 needs a value"
      name=${1#--}
      case $name in
        rows) rows_wanted=$2 ;;
        *) printf -v "${name//-/_}" '%s' "$2" ;;
      esac
      shift 2
      ;;
    -*) refuse "$1: no such flag; --help shows them" ;;
    *)
      [[ -z $corpus ]] || refuse "$1: one CORPUS is compared at a time"
      corpus=$1
      shift
      ;;
  esac
done
[[ -n $corpus ]] || refuse 'no CORPUS: name a folder with train/ and valid/'
for part in train valid; do [[ -d $corpus/$part ]] || refuse "$corpus: no folder $part in it"; done
[[ -x $gca ]] || refuse "$gca: no such program; build it (./dev build), or name another in GCA"

# number SIZE: 50M as 52428800.
number() {
  local size=${1^^}
  [[ $size =~ ^[0-9]+[KMG]?$ ]] || refuse "$1: not a size such as 4096, 128K or 50M"
  case $size in
    *K) printf '%d' $((${size%K} * 1024)) ;;
    *M) printf '%d' $((${size%M} * 1024 * 1024)) ;;
    *G) printf '%d' $((${size%G} * 1024 * 1024 * 1024)) ;;
    *) printf '%d' "$size" ;;
  esac
}
context=$(number "$context")
readonly contexts=$context,$((2 * context)),$((4 * context)),$((8 * context))
IFS=, read -ra seed_list <<<"$seeds"
IFS=, read -ra row_list <<<"$rows_wanted"

# value_of SETTING: of the preset or file of --config.
value_of() {
  "$gca" pretrain --config "$config" --print-config | awk -v key="$1" '$1 == key { gsub(/"/, "", $2); print $2 }'
}
layers=$(value_of num_lower_layers)
readonly window_settings=(--set long_range=none --set "num_lower_layers=$((layers + 2))")

# settings_of ROW: words of gca pretrain for it, in `settings`. One row, one line. gca-2 begins without a start-up, and gca pretrain says so:
# the shipped weights are of one group. Random choice while training is no row, for gca has no such setting.
settings_of() {
  settings=()
  case $1 in
    window) settings=("${window_settings[@]}") ;;
    window-start-up) settings=("${window_settings[@]}" --init "$output/start-up-window/checkpoint") ;;
    gca-1) settings=() ;;
    gca-2) settings=(--set retrieval_groups=2) ;;
    no-rounding) settings=(--set weight_rounding=0) ;;
    no-noise) settings=(--set gumbel_noise=false) ;;
    *) refuse "--rows $1: no such row; there are window, window-start-up, gca-1, gca-2, no-rounding and no-noise" ;;
  esac
}
for row in "${row_list[@]}"; do
  settings_of "$row"
  [[ $row != gca-2 ]] || (($(value_of num_upper_layers) >= 2)) ||
    refuse "--rows gca-2: two groups need two upper layers, and $config has one; leave it out (--rows window,gca-1,...)"
done

say() { printf '\n== %s\n' "$*"; }

# write FILE: standard input, aside and renamed, so that a file is complete or absent.
write() {
  cat >"$1.part"
  mv "$1.part" "$1"
}

mkdir -p "$output"
exec 9>"$output/lock"  # what it starts holds it as well, even when it is killed itself
flock -n 9 || refuse "$output: another comparison is at work there; wait for it, or end it"

# Rows that were made otherwise are not compared in silence.
same=$(printf '%s\n' "corpus $(realpath "$corpus")" "tokens $tokens" "config $config" "context $context" "batch $batch" "vocab $vocab" \
  "eval-tokens $eval_tokens")
if [[ -e $output/settings.txt ]]; then
  [[ $(<"$output/settings.txt") == "$same" ]] ||
    refuse "$output: holds a comparison with other settings ($output/settings.txt); repeat them, or name another --output"
else
  write "$output/settings.txt" <<<"$same"
fi

# tokens_of PART FLAG...: a folder that is complete or absent.
tokens_of() {
  [[ -e $output/$1-tokens/index.json ]] && return
  say "$1: text into tokens"
  "$gca" tokenize "$corpus/$1" --output "$output/$1-tokens" --threads "$threads" --quiet "${@:2}"
}

# train FOLDER WORD...: a run that is complete, resumed or begun.
train() {
  local run=$1
  [[ -e $run/report.json ]] && return
  if [[ -e $run/checkpoint ]]; then
    say "$run: goes on"
    "$gca" pretrain --resume --output "$run" --threads "$threads"
  else
    say "$run: begins"
    local more=()
    [[ -z $batch ]] || more=(--batch "$batch")
    "$gca" pretrain --data "$output/train-tokens" --valid "$output/valid-tokens" --config "$config" --set "context=$context" \
      --set "eval_interval=$eval_every" --threads "$threads" --output "$run" "${more[@]}" "${@:2}"
  fi
}

# evaluate RUN: with all choices where it has one.
evaluate() {
  [[ -e $1/eval.json ]] && return
  say "$1: evaluation at $contexts"
  local choices=()
  [[ ${1##*/} == window* ]] || choices=(--retriever 'learned,random,none')
  "$gca" eval --checkpoint "$1/checkpoint" --data "$output/valid-tokens" --context "$contexts" --max-tokens "$eval_tokens" \
    --threads "$threads" --quiet --report "$1/eval.json" "${choices[@]}"
}

tokens_of train --train-vocab "$vocab"
tokens_of valid --tokenizer "$output/train-tokens/tokenizer.model"

# What the layers of a model that retrieves bring along, a window gets as well: text, and copies that lie within its reach. A tenth of the
# tokens, which the table adds to its minutes.
if [[ ,$rows_wanted, == *,window-start-up,* && ! -e $output/start-up-window/report.json ]]; then
  steps=$(($(number "$tokens") / 10 / context / ${batch:-$(value_of batch)}))
  write "$output/start-up-window.json" <<JSON
{"phases": [{"name": "text and copies", "steps": $((steps > 0 ? steps : 1)), "learning_rate": [0.0005, $(value_of learning_rate)],
  "tasks": [{"task": "text", "context": $context, "share": 3}, {"task": "self-copy", "chunks": 4, "copy_chunks": 2}]}]}
JSON
  train "$output/start-up-window" "${window_settings[@]}" --phases "$output/start-up-window.json" --seed 1
fi

runs=()
for row in "${row_list[@]}"; do
  for seed in "${seed_list[@]}"; do
    run=$output/$row-seed-$seed
    settings_of "$row"
    train "$run" "${settings[@]}" --tokens "$tokens" --seed "$seed"
    evaluate "$run"
    runs+=("$run")
  done
done

say 'Side by side'
"$gca" report "${runs[@]}" --html "$output/report.html" --csv "$output/report.csv"
start_up=-
[[ ,$rows_wanted, != *,window-start-up,* ]] || start_up=$output/start-up-window
table=$("$python" "$(dirname "${BASH_SOURCE[0]}")/compare_table.py" "$start_up" "${runs[@]}")
write "$output/table.md" <<<"$table"
printf '%s\n' "$output/table.md"
