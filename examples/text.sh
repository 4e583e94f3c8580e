#!/usr/bin/env bash
# A model of code that retrieves from its own past: gca pretrain with its defaults, on Python packages of Debian under permissive
# licences. What it predicts is measured on packages that it has not seen, with the chunks that it chooses, with random ones and with
# none; a page shows which chunks were chosen.
#
#   examples/text.sh                            makes the corpus, trains from scratch, then measures
#   CHECKPOINT=examples/text examples/text.sh   measures the checkpoint that is kept here
#
# CORPUS=DIR  a folder with train/ and valid/ (made by examples/text/python_corpus.py)    TOKENS=N   to train on (13600K)
# CONTEXTS=.. lengths to measure at (2K,16K)    SEED=N (1)    THREADS=N (all processors)    OUT=DIR (out/text)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly gca=${GCA:-build/apps/gca}
readonly out=${OUT:-out/text}
readonly threads=${THREADS:-$(nproc)}
readonly corpus=${CORPUS:-$out/corpus}

# step TITLE COMMAND...: shows the command, then runs it.
step() {
  printf '\n== %s\n$ gca %s\n' "$1" "${*:2}"
  "$gca" "${@:2}" --threads "$threads"
}

mkdir -p "$out"
[[ -d $corpus/valid ]] || examples/text/python_corpus.py "$corpus"

checkpoint=${CHECKPOINT:-}
if [[ -z $checkpoint ]]; then
  checkpoint=$out/run/checkpoint
  step 'Code to train on, with a vocabulary of 4096' tokenize "$corpus/train" --train-vocab 4096 --output "$out/train-tokens"
  step 'Code that the model does not see in training' \
    tokenize "$corpus/valid" --tokenizer "$out/train-tokens/tokenizer.model" --output "$out/valid-tokens"
  step 'Training, with the defaults of mini' \
    pretrain --data "$out/train-tokens" --valid "$out/valid-tokens" --config mini --tokens "${TOKENS:-13600K}" \
    --seed "${SEED:-1}" --output "$out/run"
else
  step 'Code that the model has not seen' \
    tokenize "$corpus/valid" --tokenizer "$checkpoint/tokenizer.model" --output "$out/valid-tokens"
fi

step 'What reading is worth: the chunks that the model chooses, random ones, and none' \
  eval --checkpoint "$checkpoint" --data "$out/valid-tokens" --context "${CONTEXTS:-2K,16K}" --retriever learned,random,none \
  --max-tokens 256K --report "$out/text.json"
head -c 60000 "$corpus/valid/tornado_2.txt" >"$out/passage.py"
step 'Which chunks are chosen, as a page' \
  inspect-retrieval --checkpoint "$checkpoint" --prompt-file "$out/passage.py" --html "$out/page.html" --quiet
printf '\nThe page: %s\n' "$out/page.html"
