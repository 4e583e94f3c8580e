#!/usr/bin/env bash
# A paragraph of a book comes again far later: does retrieval find where it stood the first time? Nothing marks the paragraph, so
# the landmarks have to tell any text from any other. BM25 over the same chunks, and a random choice, are measured beside it.
# examples/recall/phases.json is the recipe, the README.md beside it tells why it is as it is.
#
#   examples/recall.sh                              trains from scratch, then measures
#   CHECKPOINT=examples/recall examples/recall.sh   measures the checkpoint that is kept here
#
# BOOKS=DIR    a folder with train/ and valid/ (examples/books)    SEED=N     of the training (1)
# CONTEXTS=..  lengths of the texts (4K,64K,1M)                    TRIALS=N   at each of them (200)
# THREADS=N    (all processors)                                    OUT=DIR    (out/recall)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly gca=${GCA:-build/apps/gca}
readonly books=${BOOKS:-examples/books}
readonly out=${OUT:-out/recall}
readonly contexts=${CONTEXTS:-4K,64K,1M}
readonly trials=${TRIALS:-200}
readonly threads=${THREADS:-$(nproc)}
readonly vocabulary=examples/recall/tokenizer.model
checkpoint=${CHECKPOINT:-}

# step TITLE COMMAND...: shows the command, then runs it.
step() {
  printf '\n== %s\n$ gca %s\n' "$1" "${*:2}"
  "$gca" "${@:2}" --threads "$threads"
}

mkdir -p "$out"
step 'Books that the model does not see in training' \
  tokenize "$books/valid" --tokenizer $vocabulary --output "$out/valid-tokens"

if [[ -z $checkpoint ]]; then
  checkpoint=$out/run/checkpoint
  step 'Books to take paragraphs from, for training' \
    tokenize "$books/train" --tokenizer $vocabulary --output "$out/train-tokens"
  step 'Training: copies, then needles, then paragraphs' \
    pretrain --phases examples/recall/phases.json --data "$out/train-tokens" --valid "$out/valid-tokens" \
    --config mini --seed "${SEED:-1}" --set eval_interval=100 --set eval_sequences=64 --output "$out/run"
fi

step 'A paragraph that comes again: is the chunk of its first occurrence retrieved? BM25 and chance beside it' \
  eval --checkpoint "$checkpoint" --data "$out/valid-tokens" --task recall --context "$contexts" --trials "$trials" \
  --haystacks 2 --memory "file:$out/memory" --memory-dtype int8 --report "$out/recall.json"
