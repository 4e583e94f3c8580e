#!/usr/bin/env python3
"""strip_embedding.py CHECKPOINT FOLDER: start-up weights for gca pretrain, from a checkpoint.

Writes config.json and model.safetensors with every layer in bf16. Of the embedding it keeps what a new one is drawn from: mean and
deviation of each column over the rows of text, and the row of the landmark (lib/train/start_up_weights.h). Needs numpy.
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
    embedding = tensors.pop("tok_emb")
    landmark = config["landmark_token_id"] if config["landmark_token_id"] >= 0 else len(embedding) - 1
    text = numpy.delete(embedding, landmark, axis=0).astype(numpy.float64)
    tensors["tok_emb.mean"] = text.mean(0)
    tensors["tok_emb.deviation"] = text.std(0)
    tensors["tok_emb.landmark"] = embedding[landmark]
    os.makedirs(folder, exist_ok=True)
    write(os.path.join(folder, "model.safetensors"), tensors)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)
        file.write("\n")


main()
