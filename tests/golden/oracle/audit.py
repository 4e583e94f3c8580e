#!/usr/bin/env python3
"""Recomputes what can be recomputed of the golden files with numpy alone, in float64.

The operators' results (grouped cross-attention; window attention) from their inputs, and of the model cases the choice and the
weights from the scores, and the loss from the logits. Also that each model case is of its file in configs/. Everything else of the
files, gradients above all, is made again by regenerate.py, which needs PyTorch.
"""
import json
import pathlib
import sys

import numpy as np

import golden_file

CONFIGS = pathlib.Path(__file__).resolve().parent / "configs"
ARCHITECTURE_CONFIGS = CONFIGS.parent / "configs-architectures"
TOLERANCE = 1e-6  # relative to the largest entry: the files hold float32


def check(name, what, golden, computed):
    difference = np.abs(golden - computed).max() / max(np.abs(golden).max(), 1e-30)
    if not difference <= TOLERANCE:
        sys.exit(f"{name}: {what} differs by {difference:.2g} of its largest entry")


def grouped_cross_attention(q, k, v, idx, w, scale, softmax_one):
    """q (B, C, S, H, dh), k and v (B, C, M, H_kv, dh), idx and w (B, C, K) -> (B, C, S, H, dh)"""
    out = np.zeros_like(q)
    heads_per_kv = q.shape[3] // k.shape[3]
    for b, reader, slot in zip(*np.nonzero(idx >= 0)):
        chunk = idx[b, reader, slot]
        for head in range(q.shape[3]):
            scores = q[b, reader, :, head] @ k[b, chunk, :, head // heads_per_kv].T * scale
            largest = np.maximum(scores.max(-1, keepdims=True), 0.0 if softmax_one else -np.inf)
            p = np.exp(scores - largest)
            p /= p.sum(-1, keepdims=True) + (np.exp(-largest) if softmax_one else 0.0)
            out[b, reader, :, head] += w[b, reader, slot] * p @ v[b, chunk, :, head // heads_per_kv]
    return out


def window_attention(q, k, v, slopes, window, scale):
    """q, k, v (B, L, H, dh) -> out (B, L, H, dh), lse (B, H, L)"""
    distance = np.subtract.outer(np.arange(q.shape[1]), np.arange(q.shape[1]))
    scores = np.einsum("blhe,bmhe->bhlm", q, k) * scale - slopes[None, :, None, None] * distance
    scores = np.where((distance >= 0) & (distance <= window), scores, -np.inf)
    largest = scores.max(-1, keepdims=True)
    lse = np.log(np.exp(scores - largest).sum(-1, keepdims=True)) + largest
    return np.einsum("bhlm,bmhe->blhe", np.exp(scores - lse), v), lse[..., 0]


def audit_kernel(name, metadata, t):
    scale = float(metadata["scale"])
    if metadata["kind"] == "gca":
        check(name, "out", t["out"],
              grouped_cross_attention(t["q"], t["k"], t["v"], t["idx"], t["w"], scale, metadata["softmax_one"] == "1"))
    else:
        out, lse = window_attention(t["q"], t["k"], t["v"], t["slopes"], int(metadata["window"]), scale)
        check(name, "out", t["out"], out)
        check(name, "lse", t["lse"], lse)


def audit_choice(name, config, r, noise, idx, w):
    """Scores r (B, C, C), choice idx and weights w (B, C, K), of the landmark of each chunk."""
    K = config["K"]
    for b in range(r.shape[0]):
        for t in range(r.shape[1]):
            noisy = r[b, t, :t] + (0 if noise is None else noise[b, t, :t])
            best = np.argsort(-noisy)[:K]
            chosen = idx[b, t][idx[b, t] >= 0]
            if set(best) != set(chosen):
                sys.exit(f"{name}: the choice of chunk {t} is {sorted(chosen)}, the best are {sorted(best)}")
            if len(chosen):
                p = np.exp(r[b, t, chosen] - r[b, t, chosen].max())
                check(name, "w", w[b, t, :len(chosen)], p / p.sum())


def audit_loss(name, config, tokens, logits, token_loss, loss):
    batch, positions, vocabulary = logits.shape
    text = logits.reshape(batch, config["C"], config["S"], vocabulary)[:, :, :-1].reshape(batch, -1, vocabulary)[:, :-1]
    largest = text.max(-1, keepdims=True)
    lse = np.log(np.exp(text - largest).sum(-1)) + largest[..., 0]
    computed = lse - np.take_along_axis(text, tokens[:, 1:, None], -1)[..., 0]
    check(name, "token_loss", token_loss, computed)
    check(name, "loss", loss, token_loss.mean())


def audit_model(name):
    metadata, inputs = golden_file.read(golden_file.GOLDEN / f"{name}.safetensors")
    _, t = golden_file.read(golden_file.GOLDEN / f"{name}.act.safetensors")
    t = {key: x.astype(np.float64) if x.dtype.kind == "f" else x for key, x in t.items()}
    config = json.loads(metadata["config"])
    for key, value in json.loads((CONFIGS / f"{name}.json").read_text()).items():
        if config[key] != value:
            sys.exit(f"{name}: {key} is {config[key]}, in configs/{name}.json {value}")
    for run, noise in (("act", inputs["input/gumbel"].astype(np.float64)), ("eval", None)):
        for g in range(len(config["n_upper"])):
            audit_choice(name, config, t[f"{run}/r.{g}"], None if noise is None else noise[g], t[f"{run}/idx.{g}"],
                         t[f"{run}/w.{g}"])
        audit_loss(name, config, inputs["input/tokens"], t[f"{run}/logits"], t[f"{run}/token_loss"], t[f"{run}/loss"])


def audit_architecture(path):
    """A model of a related architecture: its configuration, and the loss from the logits."""
    metadata, t = golden_file.read(path)
    config = json.loads(metadata["config"])
    for key, value in json.loads((ARCHITECTURE_CONFIGS / f"{path.stem}.json").read_text())["model"].items():
        if key in config and config[key] != value:
            sys.exit(f"{path.stem}: {key} is {config[key]}, in configs-architectures/{path.stem}.json {value}")
    tokens = t["input/tokens"]
    place = np.arange(tokens.shape[1])
    if config["long_range"] == "landmark":
        place = place + place // (config["chunk_size"] - 1)
    for run in ("act", "eval"):
        if f"{run}/logits" not in t:
            continue
        logits = t[f"{run}/logits"].astype(np.float64)[:, place][:, :-1]
        largest = logits.max(-1, keepdims=True)
        lse = np.log(np.exp(logits - largest).sum(-1)) + largest[..., 0]
        check(path.stem, "token_loss", t[f"{run}/token_loss"], lse - np.take_along_axis(logits, tokens[:, 1:, None], -1)[..., 0])
        check(path.stem, "loss", t[f"{run}/loss"], t[f"{run}/token_loss"].mean())


def main():
    kernels = models = 0
    for path in sorted(golden_file.GOLDEN.glob("*.safetensors")):
        metadata, tensors = golden_file.read(path)
        if metadata.get("kind") in ("gca", "window-attention"):
            audit_kernel(path.stem, metadata, {key: x.astype(np.float64) if x.dtype.kind == "f" else x for key, x in tensors.items()})
            kernels += 1
    for path in sorted(CONFIGS.glob("*.json")):
        if path.stem != "kernels":
            audit_model(path.stem)
            models += 1
    for path in sorted((golden_file.GOLDEN / "architectures").glob("*.safetensors")):
        if not path.stem.startswith("kernel-"):
            audit_architecture(path)
            models += 1
    wanted = json.loads((CONFIGS / "kernels.json").read_text())
    if kernels != sum(len(cases) for cases in wanted.values()):
        sys.exit(f"{kernels} operator cases, not those of configs/kernels.json")
    print(f"{kernels} operator cases and {models} model cases agree")


if __name__ == "__main__":
    main()
