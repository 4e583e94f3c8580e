#!/usr/bin/env python3
"""strip_embedding.py CHECKPOINT FOLDER: start-up weights for gca pretrain, from a checkpoint.

Writes config.json and model.safetensors with every layer in bf16. Nothing is kept of the embedding: a new one is to be drawn as
that of a new model is, normal(0, initializer_range), which starts better than with the mean and the deviation of the old columns
(docs/results.md). The row of the landmark is drawn here. Needs numpy.
"""
import json
import os
import struct
import sys

import numpy


def read(path):
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] != "F32":
            sys.exit(f"{path}: {name} is of type {entry['dtype']}, not F32")
        begin, end = entry["data_offsets"]
        tensors[name] = numpy.frombuffer(data[begin:end], numpy.float32).reshape(entry["shape"])
    return tensors


def as_bf16(values):
    """Rounded to nearest, ties to even."""
    bits = numpy.ascontiguousarray(values, numpy.float32).view(numpy.uint32).astype(numpy.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(numpy.uint16)


def write(path, tensors):
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, values in tensors.items():
        part = as_bf16(values).tobytes()
        header[name] = {"dtype": "BF16", "shape": list(values.shape), "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path + ".tmp", "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)
    os.replace(path + ".tmp", path)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.splitlines()[0])
    checkpoint, folder = sys.argv[1:]
    with open(os.path.join(checkpoint, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    tensors = read(os.path.join(checkpoint, "model.safetensors"))
    d = tensors.pop("tok_emb").shape[1]
    deviation = config["initializer_range"]
    tensors["tok_emb.mean"] = numpy.zeros(d)
    tensors["tok_emb.deviation"] = numpy.full(d, deviation)
    tensors["tok_emb.landmark"] = numpy.random.default_rng(0).normal(scale=deviation, size=d)
    os.makedirs(folder, exist_ok=True)
    write(os.path.join(folder, "model.safetensors"), tensors)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)
        file.write("\n")


main()
