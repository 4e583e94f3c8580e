#!/usr/bin/env bash
# Does retrieval pay on a corpus of your own? Trains a table of models alike, evaluates each at 1, 2, 4 and 8 times the trained length,
# measures what each costs (best on a machine that does nothing else), and writes a page (report.html), a CSV file and a Markdown table (table.md). Rows are gca, windows, gca without one of its parts, and the other
# kinds of docs/architectures.md at as many parameters, within 2 %, and tokens a step as gca.
#
#     examples/compare.sh CORPUS [--tokens 50M] [--seeds 1,2] [--threads N] [--config mini] [--context 1984] [--batch N]
#                         [--vocab 4096] [--eval-tokens 128K] [--eval-every 500] [--rows NAME,...] [--output out/compare]
#
# CORPUS is a folder with train/ and valid/. Days of runs may be stopped at any moment: the same command goes on where it stopped, skips what
# is complete and resumes what was interrupted. GCA names another gca, PYTHON another python.
set -euo pipefail

corpus='' tokens=50M seeds=1,2 threads=$(nproc) config=mini context=1984 batch='' vocab=4096 eval_tokens=128K eval_every=500
rows_wanted=window,window-start-up,gca-1,gca-2,no-rounding,no-noise,random-choice,frozen-choice,landmark,rmt,fot,longvq,tensorized,recurformer
output=out/compare
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

# sizes_of KIND: settings of --config with which it has as many parameters as gca; none where they are not known.
sizes_of() {
  case $config:$1 in
    mini:longvq) echo num_upper_layers=3 intermediate_size=416 ;;
    mini:*) echo num_upper_layers=3 intermediate_size=448 ;;
    small:longvq) echo num_upper_layers=6 intermediate_size=736 ;;
    small:*) echo num_upper_layers=7 ;;
  esac
}

# recurrent_heads_of LAYERS HEADS: the first half of the heads of each of the upper layers.
recurrent_heads_of() {
  local layer head list=''
  for ((layer = 0; layer < $1; layer++)); do
    for ((head = 0; head < $2 / 2; head++)); do list+=${list:+,}$((layer * $2 + head)); done
  done
  printf '[%s]' "$list"
}

# kind_settings KIND: words of gca pretrain for a kind beside gca and windows, in `settings`. Landmark attention trains on short texts, as
# long as the slots that it reads with afterwards.
kind_settings() {
  local set sizes upper short
  sizes=$(sizes_of "$1")
  upper=$(value_of num_upper_layers)
  [[ $sizes != *num_upper_layers=* ]] || { upper=${sizes#*num_upper_layers=} && upper=${upper%% *}; }
  set="long_range=$1 start_up=none $sizes"
  case $config:$1 in
    *:landmark)
      [[ $config == small ]] && set+=' landmark_local_size=512' short=1071
      [[ $config == small ]] || { set+=' chunk_top_k=4' short=403; }
      set+=" context=$short batch=$(((${batch:-$(value_of batch)} * context + short / 2) / short))"
      ;;
    small:rmt) set+=' memory_size=16 segment_size=1024' ;;
    small:fot) set+=' memory_layers=[1] local_context_size=512' ;;
    small:longvq) set+=' codebook_size=512' ;;
    small:tensorized) set+=' tensor_fold=[256,256]' ;;
    *:recurformer)
      set+=" recurrent_heads=$(recurrent_heads_of "$upper" "$(value_of num_attention_heads)")"
      [[ $(value_of num_attention_heads) != 4 ]] || set+=' upper_alibi_slopes=[2,0.5,0.125,0]'
      ;;
  esac
  settings=()
  local one
  for one in $set; do settings+=(--set "$one"); done
}

# settings_of ROW: words of gca pretrain for it, in `settings`. One row, one line. gca-2 and frozen-choice begin without a start-up, and
# gca pretrain says so: the shipped weights are of one group, and the copies of a start-up have no chunk vectors.
settings_of() {
  settings=()
  case $1 in
    window) settings=("${window_settings[@]}") ;;
    window-start-up) settings=("${window_settings[@]}" --init "$output/start-up-window/checkpoint") ;;
    gca-1) settings=() ;;
    gca-2) settings=(--set retrieval_groups=2) ;;
    no-rounding) settings=(--set weight_rounding=0) ;;
    no-noise) settings=(--set gumbel_noise=false) ;;
    random-choice) settings=(--set retriever=random) ;;
    frozen-choice) settings=(--set retriever=frozen) ;;
    landmark | rmt | fot | longvq | tensorized | recurformer) kind_settings "$1" ;;
    *)
      refuse "--rows $1: no such row; there are window, window-start-up, gca-1, gca-2, no-rounding, no-noise, random-choice," \
        "frozen-choice, landmark, rmt, fot, longvq," \
        "tensorized and recurformer"
      ;;
  esac
}
for row in "${row_list[@]}"; do
  settings_of "$row"
  [[ $row != frozen-choice ]] || ((context % ($(value_of chunk_size) - 1) == 0)) ||
    refuse "--rows frozen-choice: vectors are of chunks of $(($(value_of chunk_size) - 1)) tokens, and --context $context is no multiple of" \
      "that; give one that is, or leave the row out (--rows window,gca-1,...)"
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
    [[ -z $batch ]] || more=(--set "batch=$batch")  # a row may have another
    "$gca" pretrain --data "$output/train-tokens" --valid "$output/valid-tokens" --config "$config" --set "context=$context" \
      --set "eval_interval=$eval_every" --threads "$threads" --output "$run" "${more[@]}" "${@:2}"
  fi
}

# evaluate RUN: with all choices where it has one.
evaluate() {
  [[ -e $1/eval.json ]] && return
  say "$1: evaluation at $contexts"
  local choices=() row=${1##*/}
  case ${row%-seed-*} in
    gca-* | no-* | random-choice | frozen-choice) choices=(--retriever 'learned,random,none') ;;
  esac
  "$gca" eval --checkpoint "$1/checkpoint" --data "$output/valid-tokens" --context "$contexts" --max-tokens "$eval_tokens" \
    --threads "$threads" --quiet --report "$1/eval.json" "${choices[@]}"
}

# cost ROW WORD...: what a step of training and a token after 64K cost, of the model that the words are settings of.
cost() {
  local row=$1 settings=() more=()
  shift
  # Where its weights come from costs nothing. A benchmark has no chunk vectors: a frozen choice is told to cost what the learned one does.
  while (($#)); do
    [[ $1 == --init || $2 == retriever=frozen ]] || settings+=("$1" "$2")
    shift 2
  done
  [[ -z $batch ]] || more=(--set "batch=$batch")
  settings=(--config "$config" --set "vocab_size=$((vocab + 1))" --set "context=$context" "${more[@]}" "${settings[@]}")
  local trained=$context
  [[ "${settings[*]}" =~ .*' context='([0-9]+) ]] && trained=${BASH_REMATCH[1]}  # a row may have another
  [[ -e $output/$row-training.json ]] || {
    say "$row: what training costs"
    "$gca" bench "${settings[@]}" --mode training --context "$trained" --no-peak --threads "$threads" --quiet \
      --report "$output/$row-training.json"
  }
  [[ -e $output/$row-decoding.json ]] || {
    say "$row: what a token after 64K costs"
    "$gca" bench "${settings[@]}" --mode decoding --context 64K --no-peak --repeats 3 --threads "$threads" --quiet \
      --report "$output/$row-decoding.json"
  }
}

tokens_of train --train-vocab "$vocab"
tokens_of valid --tokenizer "$output/train-tokens/tokenizer.model"

if [[ ,$rows_wanted, == *,frozen-choice,* ]]; then
  for part in train valid; do
    [[ -e $output/$part-tokens/chunk-vectors.safetensors ]] && continue
    say "$part: chunk vectors"
    "$python" "$(dirname "${BASH_SOURCE[0]}")/chunk_vectors.py" "$output/$part-tokens" --chunk-size "$(value_of chunk_size)"
  done
fi

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

# parameters_of WORD...: of the model that gca pretrain would train.
parameters_of() {
  "$gca" pretrain --data "$output/train-tokens" --config "$config" --steps 1 --dry-run --json "$@" |
    "$python" -c 'import json, sys; print(json.load(sys.stdin)["result"]["parameters"])'
}

# Kinds are compared at as many parameters as gca-1, within 2 %.
for row in "${row_list[@]}"; do
  case $row in landmark | rmt | fot | longvq | tensorized | recurformer) ;; *) continue ;; esac
  [[ ! -e $output/$row-seed-${seed_list[0]}/checkpoint ]] || continue
  [[ -n ${wanted:-} ]] || wanted=$(parameters_of)
  settings_of "$row"
  held=$(parameters_of "${settings[@]}")
  ((50 * (held > wanted ? held - wanted : wanted - held) <= wanted)) ||
    refuse "--rows $row: has $held parameters where gca has $wanted; add its sizes to sizes_of in $0, or leave it out"
done

runs=()
for row in "${row_list[@]}"; do
  for seed in "${seed_list[@]}"; do
    run=$output/$row-seed-$seed
    settings_of "$row"
    train "$run" "${settings[@]}" --tokens "$tokens" --seed "$seed"
    evaluate "$run"
    runs+=("$run")
  done
  settings_of "$row"
  cost "$row" "${settings[@]}"
done

say 'Side by side'
"$gca" report "${runs[@]}" --html "$output/report.html" --csv "$output/report.csv"
start_up=-
[[ ,$rows_wanted, != *,window-start-up,* ]] || start_up=$output/start-up-window
table=$("$python" "$(dirname "${BASH_SOURCE[0]}")/compare_table.py" "$start_up" "${runs[@]}")
write "$output/table.md" <<<"$table"
printf '%s\n' "$output/table.md"
