#!/usr/bin/env python3
"""Chunk vectors of a folder of gca tokenize, for models with retriever=frozen: chunk_vectors.py TOKENS [--chunk-size S] [--size E]

Plain lexical vectors, a baseline and an example of the file: the tf-idf of the token ids of each chunk of S-1 tokens, projected to E
numbers by random signs, of length 1. So a score is about the cosine of two chunks: how many rare tokens they share. How rare a token is,
the whole data set says. A sentence embedder would take the text of each chunk instead. Needs numpy.
"""

import argparse
import json
import os
import struct
from pathlib import Path

import numpy

BLOCK_CHUNKS = 1024


def documents_of(folder, index):
    """Token ids of each document, in the order of the index."""
    shards = [
        numpy.memmap(folder / shard["file"], index["dtype"], "r") if shard["tokens"] else numpy.empty(0, index["dtype"])
        for shard in index["shards"]
    ]
    for document in index["documents"]:
        yield shards[document["shard"]][document["offset"] : document["offset"] + document["tokens"]]


def blocks_of(folder, index, chunk_text):
    """(chunks, chunk, id, count): how many chunks a block has, and how often each of their ids occurs, sorted by chunk."""
    for ids in documents_of(folder, index):
        for begin in range(0, len(ids), BLOCK_CHUNKS * chunk_text):
            block = ids[begin : begin + BLOCK_CHUNKS * chunk_text].astype(numpy.int64)
            chunk = numpy.arange(len(block)) // chunk_text
            pairs, counts = numpy.unique(chunk * index["vocab_size"] + block, return_counts=True)
            yield int(chunk[-1]) + 1, pairs // index["vocab_size"], pairs % index["vocab_size"], counts


def vectors_of(folder, index, chunk_text, size, scale):
    """Rows of every block, (chunks, size) float32."""
    chunks_with = numpy.zeros(index["vocab_size"])
    total = 0
    for chunks, _, ids, _ in blocks_of(folder, index, chunk_text):
        chunks_with += numpy.bincount(ids, minlength=index["vocab_size"])
        total += chunks
    rarity = numpy.log((1 + total) / (1 + chunks_with)).astype(numpy.float32)
    signs = numpy.random.default_rng(0).integers(0, 2, (index["vocab_size"], size), numpy.int8) * numpy.int8(2) - numpy.int8(1)
    for _, chunk, ids, counts in blocks_of(folder, index, chunk_text):
        weights = counts.astype(numpy.float32) * rarity[ids]
        first_of_chunk = numpy.flatnonzero(numpy.diff(chunk, prepend=-1))
        rows = numpy.add.reduceat(weights[:, None] * signs[ids], first_of_chunk, axis=0)
        lengths = numpy.linalg.norm(rows, axis=1, keepdims=True)
        yield rows / numpy.maximum(lengths, 1e-12) * numpy.float32(scale) ** 0.5


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokens", type=Path, metavar="TOKENS", help="folder written by gca tokenize")
    parser.add_argument("--chunk-size", type=int, default=64, metavar="S", help="positions of a chunk, its landmark counted (default: 64)")
    parser.add_argument("--size", type=int, default=256, metavar="E", help="numbers of a vector (default: 256)")
    parser.add_argument("--scale", type=float, default=1.0, metavar="X", help="a score is a cosine times this (default: 1)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: chunk-vectors.safetensors in TOKENS")
    options = parser.parse_args()
    if options.chunk_size < 2 or options.size < 1 or options.scale <= 0:
        parser.error("--chunk-size must be 2 or more, --size 1 or more, --scale above 0")
    try:
        index = json.loads((options.tokens / "index.json").read_text())
    except FileNotFoundError:
        parser.error(f"{options.tokens}: no index.json in it; give a folder written by gca tokenize")
    if index.get("format") != "gca.tokens/1":
        parser.error(f"{options.tokens}: holds {index.get('format')} and no tokens; give a folder written by gca tokenize")

    chunk_text = options.chunk_size - 1
    rows = sum(-(-document["tokens"] // chunk_text) for document in index["documents"])
    header = {
        "__metadata__": {"chunk_size": str(options.chunk_size), "tokens": index["seal"]},
        "vectors": {"dtype": "F16", "shape": [rows, options.size], "data_offsets": [0, 2 * rows * options.size]},
    }
    text = json.dumps(header).encode()
    text += b" " * (-(8 + len(text)) % 64)
    output = options.output or options.tokens / "chunk-vectors.safetensors"
    aside = output.with_name(output.name + ".part")
    with aside.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for block in vectors_of(options.tokens, index, chunk_text, options.size, options.scale):
            file.write(block.astype("<f2").tobytes())
    os.replace(aside, output)
    print(f"{output}: {rows} vectors of {options.size} numbers")


if __name__ == "__main__":
    main()
