#!/usr/bin/env bash
# Two hops: `a -> b` stands in one place of a long text, `b -> c` in another, among other chains. The first group of upper layers
# has to retrieve the first needle, the second group the second: where that stands only the first one tells. One group alone is
# trained and asked beside it. examples/multihop/phases.json is the recipe, the README.md beside it tells why it is as it is.
#
#   examples/multihop.sh                                trains both from scratch, then measures
#   CHECKPOINT=examples/multihop examples/multihop.sh   measures the checkpoint that is kept here
#
# BOOKS=DIR    a folder with train/ and valid/ (examples/books)    SEED=N     of the training (1)
# CONTEXTS=..  lengths of the haystacks (4K,64K,1M)                TRIALS=N   at each of them (200)
# THREADS=N    (all processors)                                    OUT=DIR    (out/multihop)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly gca=${GCA:-build/apps/gca}
readonly books=${BOOKS:-examples/books}
readonly out=${OUT:-out/multihop}
readonly contexts=${CONTEXTS:-4K,64K,1M}
readonly trials=${TRIALS:-200}
readonly threads=${THREADS:-$(nproc)}
readonly vocabulary=examples/multihop/tokenizer.model

# step TITLE COMMAND...: shows the command, then runs it.
step() {
  printf '\n== %s\n$ gca %s\n' "$1" "${*:2}"
  "$gca" "${@:2}" --threads "$threads"
}

# train NAME GROUPS: four upper layers in so many groups.
train() {
  step "Training, G = $2" \
    pretrain --phases examples/multihop/phases.json --data "$out/train-tokens" --valid "$out/valid-tokens" \
    --config mini --set num_upper_layers=4 --set "retrieval_groups=$2" --seed "${SEED:-1}" \
    --set eval_interval=100 --set eval_sequences=64 --output "$out/$1"
}

# measure NAME CHECKPOINT
measure() {
  step 'Chains of two needles among three other chains: the last token, and the whole answer' \
    eval --checkpoint "$2" --data "$out/valid-tokens" --task multihop --context "$contexts" --trials "$trials" \
    --memory "file:$out/memory" --memory-dtype int8 --report "$out/$1.json"
}

mkdir -p "$out"
step 'Books that the model does not see in training' \
  tokenize "$books/valid" --tokenizer $vocabulary --output "$out/valid-tokens"
if [[ -n ${CHECKPOINT:-} ]]; then
  measure checkpoint "$CHECKPOINT"
  exit
fi
step 'Books to hide things in, for training' \
  tokenize "$books/train" --tokenizer $vocabulary --output "$out/train-tokens"
train two-groups 2
train one-group 1
measure two-groups "$out/two-groups/checkpoint"
measure one-group "$out/one-group/checkpoint"
