"""Tokens per second of a training step by N ranks, beside one process: rounds that alternate, medians.

  python3 tests/bench/ranks_speed.py GCA TOKENS [--ranks 1x1,1x2,2x1,4x1] [--context-parallel] [--rounds 3] [--config small]

TOKENS is a folder that `gca tokenize` wrote. `2x1` is two ranks of one thread each. All read the same batches; with --context-parallel
all ranks share each text, else the rows of the batch. The first step of a run is left out.
"""
import argparse
import json
import os
import statistics
import subprocess
import tempfile


def rate_of(arguments, ranks, threads):
    with tempfile.TemporaryDirectory() as folder:
        run = os.path.join(folder, "run")
        words = [arguments.gca]
        if ranks > 1:
            words += ["launch", "-n", str(ranks), "--"]
        words += ["pretrain", "--data", arguments.tokens, "--config", arguments.config, "--start-up", "none", "--batch", str(arguments.batch),
                  "--set", f"context={arguments.context}", "--set", "eval_interval=0", "--steps", str(arguments.steps), "--seed", "1",
                  "--threads", str(threads), "--quiet", "--output", run]
        if arguments.context_parallel and ranks > 1:
            words += ["--context-parallel", str(ranks)]
        subprocess.run(words, check=True, env=dict(os.environ, OMP_NUM_THREADS=str(threads)))
        with open(os.path.join(run, "metrics.jsonl"), encoding="utf-8") as f:
            rows = [json.loads(line) for line in f]
    return statistics.median(row["tokens_per_second"] for row in rows if row.get("step", 0) > 1 and "tokens_per_second" in row)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gca")
    parser.add_argument("tokens")
    parser.add_argument("--ranks", default="1x1,1x2,2x1,4x1")
    parser.add_argument("--context-parallel", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--config", default="small")
    parser.add_argument("--context", type=int, default=1008)
    parser.add_argument("--batch", type=int, default=4)
    arguments = parser.parse_args()
    rates = {}
    for _ in range(arguments.rounds):
        for case in arguments.ranks.split(","):
            ranks, threads = map(int, case.split("x"))
            rates.setdefault(case, []).append(rate_of(arguments, ranks, threads))
            print(f"{case} {rates[case][-1]:.0f} tokens/s", flush=True)
    tokens = arguments.batch * arguments.context
    print(f"\nranks x threads   tokens/s, median (least to most) of {arguments.rounds}      ms a step of {tokens} tokens")
    for case, values in rates.items():
        median = statistics.median(values)
        print(f"{case:15} {median:10.0f} ({min(values):.0f} to {max(values):.0f}) {1e3 * tokens / median:20.0f}")


if __name__ == "__main__":
    main()
