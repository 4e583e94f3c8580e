#!/usr/bin/env python3
"""strip_embedding.py CHECKPOINT FOLDER: start-up weights for gca pretrain, from a checkpoint.

Writes config.json and model.safetensors with every layer in bf16. Nothing is kept of the embedding: a new one is to be drawn as
that of a new model is, normal(0, initializer_range), which starts better than with the mean and the deviation of the old columns
(docs/results.md). The row of the landmark is drawn here. Needs numpy.
"""
import sys

import start_up_files


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.splitlines()[0])
    checkpoint, folder = sys.argv[1:]
    config, tensors = start_up_files.read_folder(checkpoint)
    d = tensors.pop("tok_emb").shape[1]
    tensors |= start_up_files.embedding_statistics(d, config["initializer_range"])
    start_up_files.write_folder(folder, config, tensors)


main()
