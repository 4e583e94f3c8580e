"""Decoding and prefill of one Llama in bf16: gca beside llama.cpp, rounds that alternate, medians.

  python3 tests/bench/compare_llama_cpp.py GCA CHECKPOINT LLAMA_BENCH GGUF --contexts 64,2048,8192 [--rounds 5] [--threads N]

CHECKPOINT is what `gca import` made of a GGUF file, GGUF the same weights in bf16 (llama-quantize --allow-requantize IN OUT BF16).
llama.cpp keeps keys and values in f16, its default, in which it is faster than in bf16; gca keeps them in bf16. Prompts of each
length are read, and 64 tokens decoded after each.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile

DECODED = 64


def ours(arguments, mode, context):
    """Tokens per second."""
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "report.json")
        subprocess.run([arguments.gca, "bench", "--checkpoint", arguments.checkpoint, "--mode", mode, "--context", str(context),
                        "--batch", "1", "--repeats", "1", "--decode-tokens", str(DECODED), "--threads", str(arguments.threads),
                        "--no-peak", "--quiet", "--report", report], check=True)
        with open(report, encoding="utf-8") as f:
            return json.load(f)["result"]["rows"][0]["tokens_per_second"]


def theirs(arguments, mode, context):
    words = ["-p", str(context), "-n", "0"] if mode == "prefill" else ["-p", "0", "-n", str(DECODED), "-d", str(context)]
    out = subprocess.run([arguments.llama_bench, "-m", arguments.gguf, "-t", str(arguments.threads), "-r", "1", "-o", "json", *words],
                         check=True, capture_output=True, text=True).stdout
    return json.loads(out)[0]["avg_ts"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("gca", "checkpoint", "llama_bench", "gguf"):
        parser.add_argument(name)
    parser.add_argument("--contexts", default="64,2048,8192")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    print(f"{'':10}{'context':>8}{'gca':>24}{'llama.cpp':>24}{'ratio':>7}   tokens/s, median (least to most) of {arguments.rounds}")
    for context in map(int, arguments.contexts.split(",")):
        for mode in ("decoding", "prefill"):
            pairs = [(ours(arguments, mode, context), theirs(arguments, mode, context)) for _ in range(arguments.rounds)]
            columns = list(zip(*pairs))
            medians = [statistics.median(column) for column in columns]
            texts = [f"{median:.1f} ({min(column):.1f} to {max(column):.1f})" for median, column in zip(medians, columns)]
            print(f"{mode:10}{context:8}{texts[0]:>24}{texts[1]:>24}{medians[0] / medians[1]:7.2f}", flush=True)


if __name__ == "__main__":
    main()
