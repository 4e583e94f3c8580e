#!/usr/bin/env bash
# Trained at no more than 4K tokens, asked at a million: a small model learns to find a passkey, then looks for it in texts
# far longer than any it was trained on. examples/passkey/phases.json is the whole recipe, the README.md beside it tells why
# it is as it is.
#
#   examples/passkey.sh                               trains from scratch, then measures
#   CHECKPOINT=examples/passkey examples/passkey.sh   measures the checkpoint that is kept here
#
# BOOKS=DIR    a folder with train/ and valid/ (examples/books)    SEED=N     of the training (1)
# CONTEXTS=..  lengths of the haystacks (4K,64K,1M)                TRIALS=N   at each of them (200)
# THREADS=N    (all processors)                                    OUT=DIR    (out/passkey)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly gca=${GCA:-build/apps/gca}
readonly books=${BOOKS:-examples/books}
readonly out=${OUT:-out/passkey}
readonly contexts=${CONTEXTS:-4K,64K,1M}
readonly trials=${TRIALS:-200}
readonly threads=${THREADS:-$(nproc)}
readonly vocabulary=examples/passkey/tokenizer.model
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
  step 'Books to hide things in, for training' \
    tokenize "$books/train" --tokenizer $vocabulary --output "$out/train-tokens"
  step 'Training: copies, then passkeys, in growing chunks' \
    pretrain --phases examples/passkey/phases.json --data "$out/train-tokens" --valid "$out/valid-tokens" \
    --config mini --seed "${SEED:-1}" --set eval_interval=100 --set eval_sequences=64 --output "$out/run"
fi

# Chunk memory lies in a file, its keys and values as int8. A haystack is read once for many trials; each of them reads again
# only what its needle changes.
step 'A passkey of five random tokens: found by its first token, and whole' \
  eval --checkpoint "$checkpoint" --data "$out/valid-tokens" --task passkey --context "$contexts" --trials "$trials" \
  --memory "file:$out/memory" --memory-dtype int8 --report "$out/passkey.json"
step 'The same model by its sliding window alone' \
  eval --checkpoint "$checkpoint" --data "$out/valid-tokens" --task passkey --context 4K,64K --retriever none \
  --trials "$trials" --report "$out/window.json"
step 'A paragraph that comes again: is the chunk of its first occurrence retrieved? BM25 and chance beside it' \
  eval --checkpoint "$checkpoint" --data "$out/valid-tokens" --task recall --context 4K,64K --trials "$trials" \
  --report "$out/recall.json"
step 'Perplexity at the longest context of training, and at eight times that' \
  eval --checkpoint "$checkpoint" --data "$out/valid-tokens" --context 4K,32K --report "$out/perplexity.json"
