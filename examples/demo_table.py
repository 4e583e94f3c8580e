#!/usr/bin/env python3
"""The closing table of examples/demo.sh, from the JSON reports in the folder that it is given."""

import json
import pathlib
import sys
import textwrap


def result(path):
    return json.loads(path.read_text())["result"]


def perplexities(path):
    """{(context, retriever): row} of an eval report."""
    return {(row["context"], row.get("retriever", "learned")): row for row in result(path)["contexts"]}


def one_line(text, width=100):
    return textwrap.shorten(" ".join(text.split()), width, placeholder=" ...")


def gain(rows, context):
    """What the learned choice gains over a random one, nats per token."""
    return rows[context, "random"]["loss"] - rows[context, "learned"]["loss"]


def furthest_reading(chunks):
    """Of what each chunk gave the largest weight to, the one that the most words of the reader stand in, far away."""
    found = []
    for reader in chunks:
        for group in reader["groups"]:
            read = max(group["retrieved"], key=lambda one: one["weight"], default=None)
            if read and reader["chunk"] - read["chunk"] >= 20:
                shared = {word for word in reader["text"].split() if len(word) > 5} & set(read["text"].split())
                found.append((len(shared), reader["chunk"] - read["chunk"], reader, read))
    return max(found, key=lambda one: one[:2])[2:]


def main():
    out = pathlib.Path(sys.argv[1])
    before = perplexities(out / "eval-before.json")
    after = perplexities(out / "eval-after.json")
    training = result(out / "trained" / "report.json")
    generation = result(out / "generate.json")

    print(f"\n== In short\nmini, {training['parameters']:,} parameters, {training['tokens']:,} tokens of training\n")
    print(f"{'books not seen in training':40} {'perplexity':>12} {'bits/byte':>10}")
    rows = [("before training, context 2048", before[2048, "learned"])]
    rows += [(f"after, context {context}, {retriever.replace('none', 'no')} chunks", row) for (context, retriever), row in after.items()]
    for title, row in rows:
        print(f"{title:40} {row['perplexity']:12.1f} {row['bits_per_byte']:10.3f}")
    print(f"\n{'tokens/s':40} {'training':>12} {'decoding':>10}")
    print(f"{'':40} {training['tokens_per_second']:12.0f} {generation['decode_tokens_per_second']:10.0f}")

    chunk = result(out / "inspect.json")["chunks"][-2]  # the last may be cut short
    print(f"\nChunk {chunk['chunk']} of a passage from The Secret Garden:\n  {one_line(chunk['text'])}")
    for group in chunk["groups"]:
        print(f"the chunks that group {group['group']} read beside it:")
        for read in group["retrieved"]:
            print(f"  {read['chunk']:3}  score {read['score']:7.3f}  weight {read['weight']:.3f}  "
                  f"{one_line(read['text'], 70)}")
    print(f"\nCompared with random chunks, the chosen ones gain this model {gain(after, 2048):+.4f} nats per token: minutes of text are "
          "few\n(docs/results.md).")

    code = perplexities(out / "text.json")
    context = next(iter(code))[0]
    reading_gain = code[context, "none"]["loss"] - code[context, "learned"]["loss"]
    print(f"\nThe checkpoint of examples/text has learned it from 14 million tokens of Python. On the C++ of lib/model/memory, context "
          f"{context},\nreading gains it {reading_gain:.3f} nats per token, and {gain(code, context):.3f} of that are due to its choice of chunks.")
    reader, read = furthest_reading(result(out / "inspect-text.json")["chunks"])
    print(f"Chunk {reader['chunk']} of that text:\n  {one_line(reader['text'])}\nread, {reader['chunk'] - read['chunk']} chunks "
          f"before it, chunk {read['chunk']} (weight {read['weight']:.3f}):\n  {one_line(read['text'])}")

    report = json.loads((out / "passkey.json").read_text())
    search = report["result"]["contexts"][0]
    trials = search["trials"]
    reading = search["haystack_seconds"]
    print(f"\nThe checkpoint of examples/passkey, trained at no more than 4K tokens, in {search['text_tokens']:,} tokens: "
          f"{search['exact']['correct']} of {trials} passkeys\nfound whole, {search['correct']} by their first token. "
          f"Reading the text once took {reading:.1f} s ({search['text_tokens'] / reading:,.0f} tokens/s), each trial "
          f"{(search['seconds'] - reading) / trials:.2f} s, all {report['seconds']:.1f} s.")


if __name__ == "__main__":
    main()
