# shellcheck shell=bash
# What passkey.sh, multihop.sh and recall.sh have in common; each sets `example`, the name of its folder, and sources this file.
#
# BOOKS=DIR    a folder with train/ and valid/ (examples/books)    SEED=N     of the training (1)
# CONTEXTS=..  lengths of the texts (4K,64K,1M)                    TRIALS=N   at each of them (200)
# THREADS=N    (all processors)                                    OUT=DIR    (out/EXAMPLE)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly gca=${GCA:-build/apps/gca}
readonly books=${BOOKS:-examples/books}
readonly out=${OUT:-out/$example}
# shellcheck disable=SC2034  # for those who source this
readonly contexts=${CONTEXTS:-4K,64K,1M}
readonly trials=${TRIALS:-200}
readonly threads=${THREADS:-$(nproc)}

# step TITLE COMMAND...: shows the command, then runs it.
step() {
  printf '\n== %s\n$ gca %s\n' "$1" "${*:2}"
  "$gca" "${@:2}" --threads "$threads"
}

# tokens SPLIT TITLE: the books of train or valid, with the vocabulary of the example.
tokens() {
  step "$2" tokenize "$books/$1" --tokenizer "examples/$example/tokenizer.model" --output "$out/$1-tokens"
}

# train NAME TITLE FLAG...: by the phases of the example, into $out/NAME.
train() {
  step "$2" \
    pretrain --phases "examples/$example/phases.json" --data "$out/train-tokens" --valid "$out/valid-tokens" \
    --config mini --seed "${SEED:-1}" --set eval_interval=100 --set eval_sequences=64 --output "$out/$1" "${@:3}"
}

# measure NAME CHECKPOINT TITLE FLAG...: trials in books that the model has not seen, reported in $out/NAME.json.
measure() {
  step "$3" \
    eval --checkpoint "$2" --data "$out/valid-tokens" --trials "$trials" --report "$out/$1.json" "${@:4}"
}

mkdir -p "$out"
tokens valid 'Books that the model does not see in training'
