#!/usr/bin/env bash
# Two hops: `a -> b` stands in one place of a long text, `b -> c` in another, among other chains. The first group of upper layers
# has to retrieve the first needle, and the second group the second, which can only be found with what the first one says. A model
# with one group is trained and measured beside it. examples/multihop/phases.json is the recipe; the README.md beside it gives the
# reasons for it.
#
#   examples/multihop.sh                                trains both from scratch, then measures
#   CHECKPOINT=examples/multihop examples/multihop.sh   measures the checkpoint that is kept here
#
# The variables that set books, lengths, trials, threads and folders are described in examples/recipe.sh.
readonly example=multihop
# shellcheck source=examples/recipe.sh
source "$(dirname "${BASH_SOURCE[0]}")/recipe.sh"

# train_groups NAME GROUPS: four upper layers in so many groups.
train_groups() {
  train "$1" "Training, G = $2" --set num_upper_layers=4 --set "retrieval_groups=$2"
}

# measure_chains NAME CHECKPOINT
measure_chains() {
  measure "$1" "$2" 'Chains of two needles among three other chains: the last token, and the whole answer' \
    --task multihop --context "$contexts" --memory "file:$out/memory" --memory-dtype int8
}

if [[ -n ${CHECKPOINT:-} ]]; then
  measure_chains checkpoint "$CHECKPOINT"
  exit
fi
tokens train 'Books to hide things in, for training'
train_groups two-groups 2
train_groups one-group 1
measure_chains two-groups "$out/two-groups/checkpoint"
measure_chains one-group "$out/one-group/checkpoint"
