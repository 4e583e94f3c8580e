#!/usr/bin/env bash
# A paragraph of a book comes again far later: does retrieval find where it stood the first time? Nothing marks the paragraph, so
# the landmarks have to tell any text from any other. BM25 over the same chunks, and a random choice, are measured beside it.
# examples/recall/phases.json is the recipe, the README.md beside it tells why it is as it is.
#
#   examples/recall.sh                              trains from scratch, then measures
#   CHECKPOINT=examples/recall examples/recall.sh   measures the checkpoint that is kept here
#
# examples/recipe.sh tells the variables that set books, lengths, trials, threads and folders.
readonly example=recall
# shellcheck source=examples/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

checkpoint=${CHECKPOINT:-}
if [[ -z $checkpoint ]]; then
  checkpoint=$out/run/checkpoint
  tokens train 'Books to take paragraphs from, for training'
  train run 'Training: copies, then needles, then paragraphs'
fi

measure recall "$checkpoint" \
  'A paragraph that comes again: is the chunk of its first occurrence retrieved? BM25 and chance beside it' \
  --task recall --context "$contexts" --haystacks 2 --memory "file:$out/memory" --memory-dtype int8
