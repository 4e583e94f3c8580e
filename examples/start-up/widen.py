#!/usr/bin/env python3
"""widen.py START_UP FOLDER: start-up weights of the sizes of mini made twice as wide and as deep, for those of small.

Every channel of the residual stream and of a head, and most of an MLP, become two that hold the same, so that the wide layers compute
what the narrow ones do (Chen et al., Net2Net, arXiv 1511.05641): rows are doubled; columns are divided in random shares between
the two inputs that hold the same; queries are scaled by 1/sqrt(2), because products of twice as many elements are divided by
sqrt(2) only. The encoder's rotary positions turn element e of 32 as element 2e of 64, so there new elements begin as 0. New
layers begin as the identity: copies whose output projections are 0. A little noise makes different what is equal. The wide model
is then trained further. Needs numpy.
"""
import sys

import numpy

import start_up_files

SIZES = {"intermediate_size": 704, "num_lower_layers": 4, "num_upper_layers": 4, "num_encoder_layers": 2, "retrieval_groups": 2}
# Of each wide layer: the narrow one that it is made of, and whether it begins as the identity.
LAYERS = {
    "lower": [(0, False), (1, False), (0, True), (1, True)],
    "upper": [(0, False), (1, False), (0, True), (1, True)],
    "enc": [(0, False), (0, True)],
    "group": [(0, False), (0, False)],
}
OUTPUTS = ("attn.wo", "gca.wo", "mlp.w_down")
NOISE = 0.1  # of the deviation of a matrix


class Widening:
    def __init__(self, heads):
        self.heads = heads
        self.random = numpy.random.default_rng(0)

    def doubled(self, count, part):
        """Which of `count` channels each of the wide ones holds."""
        if part == "mlp":
            return numpy.arange(SIZES["intermediate_size"]) % count
        size = count // self.heads if part == "heads" else count  # those of a head stay together
        return numpy.concatenate([numpy.tile(numpy.arange(first, first + size), 2) for first in range(0, count, size)])

    def rotary(self, count):
        """The same for queries and keys that are turned: -1 where a channel is new."""
        size = count // self.heads
        places = numpy.full(2 * count, -1)
        for channel in range(count):
            head, element = divmod(channel, size)
            places[2 * head * size + 2 * element] = channel
        return places

    def divided(self, matrix, part):
        """Columns for inputs that are doubled."""
        places = self.doubled(matrix.shape[1], part)
        share = self.random.uniform(0.3, 0.7, matrix.shape[1])
        times = numpy.bincount(places, minlength=matrix.shape[1])
        is_first = numpy.zeros(len(places), bool)
        is_first[numpy.unique(places, return_index=True)[1]] = True
        factors = numpy.where(times[places] == 1, 1, numpy.where(is_first, share[places], 1 - share[places]))
        return matrix[:, places] * factors

    def with_noise(self, matrix):
        return matrix + self.random.normal(scale=NOISE * matrix.std(), size=matrix.shape)

    def widen(self, name, narrow, is_identity):
        part = name.split(".", 2)[-1] if name.split(".")[0] in LAYERS else name
        if narrow.ndim == 1:
            # A landmark's score is a product of whole hidden states.
            return numpy.tile(narrow, 2) * (numpy.sqrt(0.5) if part == "query_norm" else 1)
        is_turned = name.startswith("enc.") and part in ("attn.wq", "attn.wk")
        inputs = {"attn.wo": "heads", "gca.wo": "heads", "mlp.w_down": "mlp"}
        outputs = {"attn.wo": "stream", "gca.wo": "stream", "mlp.w_down": "stream", "mlp.w_gate": "mlp", "mlp.w_up": "mlp"}
        wide = self.divided(narrow, inputs.get(part, "stream"))
        if is_turned:
            places = self.rotary(narrow.shape[0])
            wide = numpy.where(places[:, None] < 0, 0, wide[places])
        else:
            wide = wide[self.doubled(narrow.shape[0], outputs.get(part, "heads"))]
        if part in ("attn.wq", "gca.wq"):
            wide *= numpy.sqrt(2) if is_turned else numpy.sqrt(0.5)
        wide = self.with_noise(wide)
        return 0 * wide if is_identity and part in OUTPUTS else wide


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.splitlines()[0])
    source, folder = sys.argv[1:]
    config, narrow = start_up_files.read_folder(source)
    widening = Widening(config["num_attention_heads"])
    wide = {}
    for kind, layers in LAYERS.items():
        for number, (of, is_identity) in enumerate(layers):
            prefix = f"{kind}.{of}."
            for name in [name for name in narrow if name.startswith(prefix)]:
                wide[f"{kind}.{number}.{name.removeprefix(prefix)}"] = widening.widen(name, narrow[name], is_identity)
    for name in narrow:
        if name.split(".")[0] not in LAYERS | {"tok_emb": []} or name in ("enc.in_norm", "enc.out_norm"):
            wide[name] = widening.widen(name, narrow[name], False)
    config |= SIZES | {"hidden_size": 2 * config["hidden_size"]}
    wide |= start_up_files.embedding_statistics(config["hidden_size"], config["initializer_range"])
    start_up_files.write_folder(folder, config, wide)


main()
