#!/usr/bin/env bash
# A paragraph of a book occurs again far later: does retrieval find its first occurrence? Nothing marks the paragraph, so the
# landmarks have to distinguish any text from any other. BM25 over the same chunks, and a random choice, are measured beside it.
# examples/recall/phases.json is the recipe; the README.md beside it gives the reasons for it.
#
#   examples/recall.sh                              trains from scratch, then measures
#   CHECKPOINT=examples/recall examples/recall.sh   measures the checkpoint that is kept here
#
# The variables that set books, lengths, trials, threads and folders are described in examples/recipe.sh.
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
