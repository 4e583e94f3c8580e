"""Files of start-up weights. Needs numpy."""
import json
import os
import struct
import sys

import numpy


def read(path):
    """Tensors of a safetensors file by name, in float32."""
    with open(path, "rb") as file:
        size = struct.unpack("<Q", file.read(8))[0]
        header = json.loads(file.read(size))
        data = file.read()
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        if entry["dtype"] == "F32":
            values = numpy.frombuffer(data[begin:end], numpy.float32)
        elif entry["dtype"] == "BF16":
            values = (numpy.frombuffer(data[begin:end], numpy.uint16).astype(numpy.uint32) << 16).view(numpy.float32)
        else:
            sys.exit(f"{path}: {name} is of type {entry['dtype']}, neither F32 nor BF16")
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def as_bf16(values):
    """Rounded to nearest, ties to even."""
    bits = numpy.ascontiguousarray(values, numpy.float32).view(numpy.uint32).astype(numpy.uint64)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(numpy.uint16)


def write(path, tensors):
    """In bf16, aside and renamed."""
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


def read_folder(folder):
    """The configuration of a model, and its tensors."""
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        config = json.load(file)
    return config, read(os.path.join(folder, "model.safetensors"))


def write_folder(folder, config, tensors):
    os.makedirs(folder, exist_ok=True)
    write(os.path.join(folder, "model.safetensors"), tensors)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=2)
        file.write("\n")


def embedding_statistics(d, deviation):
    """What a new embedding is drawn from: normal(0, deviation), and the landmark's row."""
    return {
        "tok_emb.mean": numpy.zeros(d),
        "tok_emb.deviation": numpy.full(d, deviation),
        "tok_emb.landmark": numpy.random.default_rng(0).normal(scale=deviation, size=d),
    }
