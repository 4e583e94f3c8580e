"""Encoding with a tokenizer.json on one thread: gca beside the `tokenizers` library, medians of five runs that alternate.

  python3 tests/bench/compare_tokenizers.py build/apps/gca tokenizer.json TEXT

The library gets the text in documents of 4096 characters, in which it is fastest; gca reads the file as one document, and
writes the tokens. Needs the Python package tokenizers.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
from tokenizers import Tokenizer  # noqa: E402  (reads the environment)

DOCUMENT = 4096


def main():
    gca, tokenizer, path = sys.argv[1:]
    with open(path, encoding="utf-8", newline="") as f:
        text = f.read()
    documents = [text[i:i + DOCUMENT] for i in range(0, len(text), DOCUMENT)]
    megabytes = len(text.encode()) / 1e6
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        for run in range(5):
            out = f"{folder}/{run}"
            subprocess.run([gca, "tokenize", path, "--tokenizer", tokenizer, "--threads", "1", "--quiet", "--output", out],
                           check=True)
            with open(f"{out}/report.json") as f:
                ours.append(json.load(f)["result"]["megabytes_per_second"])
            library = Tokenizer.from_file(tokenizer)
            start = time.perf_counter()
            library.encode_batch(documents)
            theirs.append(megabytes / (time.perf_counter() - start))
    print(f"MB/s: gca {statistics.median(ours):.2f} ({min(ours):.2f} to {max(ours):.2f}), "
          f"library {statistics.median(theirs):.2f} ({min(theirs):.2f} to {max(theirs):.2f}), "
          f"ratio {statistics.median(ours) / statistics.median(theirs):.1f}")


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main()
