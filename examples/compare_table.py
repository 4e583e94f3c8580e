#!/usr/bin/env python3
"""Markdown tables of the runs of examples/compare.sh: compare_table.py START_UP RUN...

START_UP is the run whose minutes the rows with it pay as well, or "-"; a RUN is ROW-seed-N with report.json and eval.json.
"""

import json
import statistics
import sys
from pathlib import Path


def read_json(path):
    return json.loads(path.read_text())


def training_minutes(report):
    """Time within steps, however often the run was stopped."""
    result = report["result"]
    return result["tokens"] / result["tokens_per_second"] / 60


def size_text(size):
    return f"{size // 1024}K" if size % 1024 == 0 else str(size)


def mean_text(values, digits):
    """The mean, and the range of several values."""
    values = [value for value in values if value is not None]
    if not values:
        return ""
    text = f"{statistics.fmean(values):.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values):.{digits}f} to {max(values):.{digits}f})"
    return text


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


class Row:
    """The seeds of one row."""

    def __init__(self, name, runs):
        self.name = name
        self.reports = [read_json(run / "report.json") for run in runs]
        self.evaluations = [read_json(run / "eval.json")["result"] for run in runs]
        self.retrievers = list(dict.fromkeys(entry["retriever"] for entry in self.evaluations[0]["contexts"]))

    def values(self, of, context, retriever, key, **place):
        """`key` of each seed; a model without a choice is measured as it is, which gca eval calls "none"."""
        if len(self.retrievers) == 1:
            if retriever != "learned":
                return []
            retriever = self.retrievers[0]
        wanted = {"context": context, "retriever": retriever, **place}
        return [
            entry[key]
            for evaluation in self.evaluations
            for entry in evaluation[of]
            if all(entry[name] == value for name, value in wanted.items())
        ]


def costs(row, output):
    """Of one step of training, and of reading 64K tokens and the token after them."""
    training, decoding = (read_json(output / f"{row.name}-{mode}.json")["result"] for mode in ("training", "decoding"))
    return {
        "ms": 1e6 / training["rows"][0]["tokens_per_second"],
        "flops": training["rows"][0]["flops_per_token"],
        "training_bytes": training["peak_memory_bytes"],
        "reading_bytes": decoding["peak_memory_bytes"],
        "decoded": decoding["rows"][0]["tokens_per_second"],
        "read_bytes": decoding["rows"][0]["bytes_per_token"],
        "state_bytes": decoding["rows"][0].get("state_bytes"),  # absent where an earlier gca measured
    }


def cost_table(rows, output):
    """Time and work beside those of the window where there is one, of the first row otherwise."""
    all_costs = {row.name: costs(row, output) for row in rows}
    base = all_costs.get("window", all_costs[rows[0].name])
    head = [
        "model", "ms per 1000 tokens of training", "to the first" if "window" not in all_costs else "to the window", "FLOPs, the same",
        "peak memory of training, MiB", "of reading 64K, MiB", "state after 64K, MiB", "tokens/s after it", "MiB read for each",
    ]
    cells = []
    for name, cost in all_costs.items():
        cells.append(
            [
                name,
                f"{cost['ms']:.0f}",
                f"{cost['ms'] / base['ms']:.2f}",
                f"{cost['flops'] / base['flops']:.2f}",
                f"{cost['training_bytes'] / 2**20:.0f}",
                f"{cost['reading_bytes'] / 2**20:.0f}",
                "" if cost["state_bytes"] is None else f"{cost['state_bytes'] / 2**20:.1f}",
                f"{cost['decoded']:.0f}",
                f"{cost['read_bytes'] / 2**20:.1f}",
            ]
        )
    return table(head, cells)


def main():
    start_up, *folders = sys.argv[1:]
    by_row = {}
    folders = [Path(folder) for folder in folders]
    for folder in folders:
        by_row.setdefault(folder.name.rpartition("-seed-")[0], []).append(folder)
    rows = [Row(name, runs) for name, runs in by_row.items()]
    start_up_minutes = 0.0 if start_up == "-" else training_minutes(read_json(Path(start_up) / "report.json"))
    contexts = sorted({entry["context"] for row in rows for entry in row.evaluations[0]["contexts"]})

    print("Bits per byte by context, with the learned choice; minutes of training, start-up included.\n")
    head = ["model", "seeds", "parameters", "tokens", "minutes", *map(size_text, contexts)]
    cells = []
    for row in rows:
        extra = start_up_minutes if row.name.endswith("-start-up") else 0.0
        cells.append(
            [
                row.name,
                ", ".join(str(report["seed"]) for report in row.reports),
                f"{row.reports[0]['result']['parameters'] / 1e6:.2f}M",
                f"{row.reports[0]['result']['tokens'] / 1e6:.2f}M",
                mean_text([training_minutes(report) + extra for report in row.reports], 1),
                *(mean_text(row.values("contexts", context, "learned", "bits_per_byte"), 3) for context in contexts),
            ]
        )
    print(table(head, cells))

    print("Nats per token with the learned choice, a random one, and nothing read.\n")
    columns = [(context, name) for context in (contexts[0], contexts[-1]) for name in ("learned", "random", "none")]
    head = ["model", *(f"{name} at {size_text(context)}" for context, name in columns)]
    cells = [[row.name, *(mean_text(row.values("contexts", *column, "loss"), 3) for column in columns)] for row in rows]
    print(table(head, cells))

    trained = contexts[0]
    places = sorted({(entry["from"], entry["to"]) for row in rows for entry in row.evaluations[0]["positions"] if entry["context"] == trained})
    print(f"Nats per token by position, at {size_text(trained)}, with the learned choice.\n")
    head = ["model", *(f"{begin}-{end - 1}" for begin, end in places)]
    cells = [
        [row.name, *(mean_text(row.values("positions", trained, "learned", "loss", **{"from": begin, "to": end}), 3) for begin, end in places)]
        for row in rows
    ]
    print(table(head, cells))

    print("What each costs on this machine (gca bench).\n")
    print(cost_table(rows, folders[0].parent), end="")


if __name__ == "__main__":
    main()
