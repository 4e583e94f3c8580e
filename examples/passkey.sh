#!/usr/bin/env bash
# Trained at no more than 4K tokens, asked at a million: a small model learns to find a passkey, then looks for it in texts
# far longer than any it was trained on. examples/passkey/phases.json is the whole recipe; the README.md beside it gives the
# reasons for it.
#
#   examples/passkey.sh                               trains from scratch, then measures
#   CHECKPOINT=examples/passkey examples/passkey.sh   measures the checkpoint that is kept here
#
# The variables that set books, lengths, trials, threads and folders are described in examples/recipe.sh.
readonly example=passkey
# shellcheck source=examples/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

checkpoint=${CHECKPOINT:-}
if [[ -z $checkpoint ]]; then
  checkpoint=$out/run/checkpoint
  tokens train 'Books to hide things in, for training'
  train run 'Training: copies, then passkeys, in growing chunks'
fi

# Chunk memory lies in a file, its keys and values as int8. A haystack is read once for many trials; each of them reads again
# only what its needle changes.
measure passkey "$checkpoint" 'A passkey of five random tokens: found by its first token, and whole' \
  --task passkey --context "$contexts" --memory "file:$out/memory" --memory-dtype int8
measure window "$checkpoint" 'The same model by its sliding window alone' \
  --task passkey --context 4K,64K --retriever none
measure recall "$checkpoint" \
  'A paragraph that comes again: is the chunk of its first occurrence retrieved? BM25 and chance beside it' \
  --task recall --context 4K,64K
step 'Perplexity at the longest context of training, and at eight times that' \
  eval --checkpoint "$checkpoint" --data "$out/valid-tokens" --context 4K,32K --report "$out/perplexity.json"
