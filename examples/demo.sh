#!/usr/bin/env bash
# From a folder of books to a model that retrieves from its own past, in minutes on two cores; at the end, a model that has learned
# to retrieve looks for passkeys in a million tokens. Run by ./dev demo after the build. MINUTES=N trains for longer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly gca=build/apps/gca
readonly books=examples/books
readonly out=out/demo
readonly minutes=${MINUTES:-4}

# step TITLE COMMAND...: shows the command, then runs it.
step() {
  printf '\n== %s\n$ gca %s\n' "$1" "${*:2}"
  "$gca" "${@:2}"
}

rm -rf "$out"
mkdir -p "$out"

step 'Text into tokens: a vocabulary of 4096, trained on six books' \
  tokenize $books/train --train-vocab 4096 --output $out/train-tokens
step 'The same vocabulary for two books that the model will not see' \
  tokenize $books/valid --tokenizer $out/train-tokens/tokenizer.model --output $out/valid-tokens

step 'Sequences of 2K tokens, in chunks of 32 positions' \
  chunk --tokens $out/train-tokens --output $out/train --chunk-size 32 --context 2K
step 'The books to measure on, cut alike' \
  chunk --tokens $out/valid-tokens --output $out/valid --chunk-size 32 --context 2K

step 'The model before training' \
  pretrain --data $out/train --valid $out/valid --config mini --steps 0 --output $out/untrained
step "Training for $minutes minutes" \
  pretrain --data $out/train --valid $out/valid --config mini --minutes "$minutes" --output $out/trained

# The first 16K tokens of the two books together: enough to compare, quick enough for a demo.
step 'Perplexity before' \
  eval --checkpoint $out/untrained --data $out/valid --context 2K --max-tokens 16K --report $out/eval-before.json
step 'Perplexity after, at the trained context and twice that, reading learned, random and no chunks' \
  eval --checkpoint $out/trained --data $out/valid --context 2K,4K --retriever learned,random,none \
  --max-tokens 16K --report $out/eval-after.json

step 'A continuation' \
  generate --checkpoint $out/trained --prompt 'It was a dark and stormy night, and the captain' --max-new-tokens 60 \
  --temperature 0.8 --top-p 0.95 --seed 1 --report $out/generate.json

# Mary meets the robin, in a book that the model has not seen: some 20 chunks of past to choose from.
sed -n 496,520p $books/valid/the-secret-garden.txt >$out/passage.txt
step 'What each chunk of a passage read' \
  inspect-retrieval --checkpoint $out/trained --prompt-file $out/passage.txt --quiet --report $out/inspect.json

# A model that has learned what to retrieve from text: it was trained on Python, and reads the C++ of this project, which it has not
# seen. The whole of one folder is one text, so that what is used stands far below its definition.
cat lib/model/memory/*.h lib/model/memory/*.cpp >$out/code.txt
step 'The checkpoint of examples/text, trained on Python, reads C++: the chunks that it chooses, random ones, none' \
  eval --checkpoint examples/text $out/code.txt --context 8K --retriever learned,random,none --max-tokens 32K \
  --report $out/text.json
step 'What its chunks read' \
  inspect-retrieval --checkpoint examples/text --prompt-file $out/code.txt --quiet --report $out/inspect-text.json

# A model that has learned to find a value, from 4K tokens: all eight books, over again until they are a million tokens.
# They are read once; of the ten trials each hides a passkey at another place and reads again only what that changes.
step 'The checkpoint of examples/passkey looks for passkeys in a million tokens' \
  eval --checkpoint examples/passkey $books/train $books/valid --task passkey --context 1M --trials 10 --haystacks 1 \
  --report $out/passkey.json

/usr/bin/python3 examples/demo_table.py $out
