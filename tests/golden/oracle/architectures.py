"""Reference models of the related trained architectures, float64, in the style of oracle.py.

Embeddings, lower decoder, norms, MLP, tied head and loss are oracle.py's; what differs is what the upper
layers read (rmt: the whole stack, segment by segment). One function per mechanism:

  landmark     grouped_softmax, landmark_attention (training), landmark_inference (blocks on demand)
  rmt          memory_segment_attention, rmt_forward
  fot          crossbatch_attention (training), memory_attention (inference)
  longvq       vq_attention, codebook_update
  tensorized   tensorized_attention
  recurformer  mamba_mixer

Symbols are those of docs/model.md, keys those of config.json (docs/architectures.md).
A position is a text token; with landmark attention every S-th position is a landmark.

  python architectures.py --self-check
  python architectures.py --config configs-architectures/landmark.json --seed 1 --out DIR/landmark.safetensors
  python architectures.py --kernels configs-architectures/kernels.json --seed 1 --out-dir DIR
"""
import argparse
import json
import math
import os
from dataclasses import dataclass, field, fields
from typing import Dict, List, Optional

import torch
import torch.nn.functional as F

from oracle import NO_CHUNK, _f32, _write, alibi_slopes, rms_norm, swiglu, window_attention

Tensor = torch.Tensor
Weights = Dict[str, Tensor]
NO_WINDOW = 1 << 40
SMALLEST_COUNT = 0.01       # a codeword is sum / max(count, this)


# ------------------------------------------------------------------ configuration
@dataclass
class Config:
    """Model keys of config.json."""
    long_range: str = "none"        # none, landmark, rmt, fot, longvq, tensorized, recurformer
    vocab_size: int = 40
    landmark_token_id: int = 39
    hidden_size: int = 32
    num_attention_heads: int = 4
    intermediate_size: int = 48
    num_lower_layers: int = 1
    num_upper_layers: int = 2
    sliding_window: int = 8
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    alibi_slopes: List[float] = field(default_factory=list)         # empty: 2^(-8 (i+1) / H)
    upper_alibi_slopes: List[float] = field(default_factory=list)   # tensorized, recurformer; empty: as above
    # landmark
    chunk_size: int = 8             # S, the landmark counted
    chunk_top_k: int = 2            # K blocks that a position and head reads at inference
    landmark_local_size: int = 16   # P positions of a local segment, a multiple of S
    landmark_selection: str = "head"    # head, or all_heads: one choice for all heads
    landmark_positions: str = "slots"   # slots: rotary, as the authors; none: no positions in these layers
    # rmt
    memory_size: int = 3            # M
    segment_size: int = 16          # n
    # fot
    memory_layers: List[int] = field(default_factory=lambda: [0])   # upper layers with memory
    local_context_size: int = 8     # n
    memory_top_k: int = 0           # keys of the memory a position and head reads; 0: all
    # longvq
    codebook_size: int = 8          # N, per head
    # tensorized
    tensor_fold: List[int] = field(default_factory=lambda: [4, 4])  # t_1, t_2, ...; the last may be 0: no end
    # recurformer
    recurrent_heads: List[int] = field(default_factory=list)        # j * H + h of upper layer j
    recurrent_state_size: int = 4   # N
    recurrent_conv_size: int = 4
    recurrent_rank: int = 2         # of dt; config.json's 0 stands for ceil(d / 16)

    @property
    def H(self): return self.num_attention_heads

    @property
    def dh(self): return self.hidden_size // self.num_attention_heads

    def slopes(self, upper: bool = False) -> Tensor:
        given = self.upper_alibi_slopes or self.alibi_slopes if upper else self.alibi_slopes
        return torch.tensor(given, dtype=torch.float64) if given else alibi_slopes(self.H)

    @property
    def landmark_theta(self) -> Optional[float]:
        return self.rope_theta if self.landmark_positions == "slots" else None

    def replaced(self, layer: int) -> List[int]:
        """Heads of upper layer `layer` that are recurrent."""
        if self.long_range != "recurformer":
            return []
        return [h for h in range(self.H) if layer * self.H + h in self.recurrent_heads]


@dataclass
class Training:
    """Keys of the training configuration that change the computation."""
    bptt_segments: int = 0          # rmt: gradients cross memory inside blocks of so many segments; 0: all
    crossbatch_contexts: int = 2    # fot: d
    crossbatch_stepping: bool = True
    codebook_straight_through: bool = True  # longvq: gradient to keys through their codes
    commitment_weight: float = 0.02  # longvq: beta
    codebook_decay: float = 0.99    # longvq: gamma
    codebook_revival: float = 0.05  # longvq: share of the mean count below which a code starts again; 0: never


@dataclass
class Case:
    """A golden case: sizes of the batch and of the random weights."""
    name: str = "unnamed"
    B: int = 2
    T: int = 48                     # text tokens
    init_std: float = 0.15
    norm_jitter: float = 0.1
    model: Config = field(default_factory=Config)
    training: Training = field(default_factory=Training)

    @staticmethod
    def load(path: str) -> "Case":
        with open(path) as f:
            raw = json.load(f)
        for key, kind in (("model", Config), ("training", Training)):
            part = raw.pop(key, {})
            unknown = set(part) - {x.name for x in fields(kind)}
            if unknown:
                raise SystemExit(f"{path}: unknown keys {sorted(unknown)}")
            raw[key] = kind(**part)
        return Case(**raw)


OWN_KEYS = {   # keys that one architecture alone reads
    "landmark": ["rope_theta", "chunk_size", "chunk_top_k", "landmark_local_size", "landmark_selection",
                 "landmark_positions", "landmark_token_id"],
    "rmt": ["memory_size", "segment_size", "bptt_segments"],
    "fot": ["memory_layers", "local_context_size", "memory_top_k", "crossbatch_contexts", "crossbatch_stepping"],
    "longvq": ["codebook_size", "codebook_straight_through", "commitment_weight", "codebook_decay", "codebook_revival"],
    "tensorized": ["tensor_fold", "upper_alibi_slopes"],
    "recurformer": ["recurrent_heads", "recurrent_state_size", "recurrent_conv_size", "recurrent_rank",
                    "upper_alibi_slopes"],
}


def plain(x, long_range: str) -> dict:
    """The keys of x that all architectures read, and those of `long_range`."""
    foreign = {k for keys in OWN_KEYS.values() for k in keys} - set(OWN_KEYS.get(long_range, []))
    return {f.name: getattr(x, f.name) for f in fields(x) if f.name not in foreign}


def weight_shapes(cfg: Config) -> Dict[str, tuple]:
    """Every weight name with its shape. Matrices are (out, in): y = x @ W^T. Beside the weights, longvq has
    two buffers a layer that no gradient reaches: codebook.count and codebook.sum."""
    d, ff, dh = cfg.hidden_size, cfg.intermediate_size, cfg.dh
    out = {"tok_emb": (cfg.vocab_size, d)}
    if cfg.long_range == "rmt":
        out["memory"] = (cfg.memory_size, d)
    for i in range(cfg.num_lower_layers + cfg.num_upper_layers):
        upper = i >= cfg.num_lower_layers
        j = i - cfg.num_lower_layers
        prefix = f"upper.{j}" if upper else f"lower.{i}"
        replaced = cfg.replaced(j) if upper else []
        kept = d - len(replaced) * dh
        out[f"{prefix}.attn_norm"] = (d,)
        if kept:
            for m in ("wq", "wk", "wv"):
                out[f"{prefix}.attn.{m}"] = (kept, d)
        out[f"{prefix}.attn.wo"] = (d, d)
        if upper and cfg.long_range == "longvq":
            out[f"{prefix}.attn.ema"] = (d,)
            out[f"{prefix}.attn.w_gate"] = (d, d)
            out[f"{prefix}.attn.q_norm"] = (dh,)
            out[f"{prefix}.codebook.count"] = (cfg.H, cfg.codebook_size)
            out[f"{prefix}.codebook.sum"] = (cfg.H, cfg.codebook_size, dh)
        if replaced:
            dr, N, R = len(replaced) * dh, cfg.recurrent_state_size, cfg.recurrent_rank
            out.update({f"{prefix}.mamba.w_in": (2 * dr, d),
                        f"{prefix}.mamba.conv_w": (dr, cfg.recurrent_conv_size),
                        f"{prefix}.mamba.conv_b": (dr,),
                        f"{prefix}.mamba.w_x": (R + 2 * N, dr),
                        f"{prefix}.mamba.w_dt": (dr, R),
                        f"{prefix}.mamba.b_dt": (dr,),
                        f"{prefix}.mamba.a_log": (dr, N),
                        f"{prefix}.mamba.d": (dr,)})
        out[f"{prefix}.mlp_norm"] = (d,)
        out[f"{prefix}.mlp.w_gate"] = (ff, d)
        out[f"{prefix}.mlp.w_up"] = (ff, d)
        out[f"{prefix}.mlp.w_down"] = (d, ff)
    out["out_norm"] = (d,)
    return out


def init_weights(case: Case, seed: int) -> Weights:
    """Float32-representable weights held in float64, drawn in the order of weight_shapes. Larger than a real
    initialisation, so that every path moves the result."""
    gen = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in weight_shapes(case.model).items():
        x = torch.randn(shape, generator=gen, dtype=torch.float64)
        if name.endswith("_norm"):
            x = 1 + case.norm_jitter * x
        elif name.endswith("codebook.count"):
            x = 0.5 + x.abs()
        elif name.endswith("codebook.sum"):
            x = x * weights[name.replace("sum", "count")][..., None]
        elif name.endswith("mamba.a_log"):
            x = torch.log(torch.arange(1, shape[1] + 1, dtype=torch.float64)) + 0.1 * x
        elif name.endswith("mamba.d"):
            x = 1 + 0.2 * x
        elif name.endswith("mamba.b_dt"):
            x = 0.5 * x - 1.5
        elif name.endswith("mamba.conv_w"):
            x = 0.4 * x
        elif not name.endswith(".ema"):
            x = case.init_std * x
        weights[name] = x.float().double()
    return weights


def is_buffer(name: str) -> bool:
    return ".codebook." in name


# ------------------------------------------------------------------ landmark attention
def rotate(x: Tensor, position: Tensor, theta: Optional[float]) -> Tensor:
    """Rotary position, halves paired: x (..., dh), position broadcastable to (...) -> (..., dh). theta None: x"""
    if theta is None:
        return x
    half = x.shape[-1] // 2
    freq = theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = position[..., None].double() * freq
    cos, sin = angle.cos().to(x), angle.sin().to(x)
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def grouped_softmax(s: Tensor, own: Tensor, past: Tensor) -> Tensor:
    """Weights of keys that lie in blocks of S, the last of each its landmark.
    s    (..., C, S) scores of a query
    own  (..., C, S) bool: regular keys of the query's own block that it sees
    past (..., C)    bool: blocks before it
    -> p (..., C, S): one softmax over the own keys and the past landmarks together; a past block's share is
    handed on to its regular keys by a softmax among them. Landmarks keep nothing. Sums to 1."""
    C, S = s.shape[-2:]
    is_landmark = torch.arange(S) == S - 1
    group = own | (past[..., None] & is_landmark)
    last = s.masked_fill(~group, float("-inf")).flatten(-2).softmax(-1).unflatten(-1, (C, S))
    inside = s[..., :-1].softmax(-1)
    share = (last[..., -1] * past)[..., None]
    handed_on = torch.cat([share * inside, torch.zeros_like(share)], -1)
    return last * own + handed_on


def blocks_of(x: Tensor, S: int) -> Tensor:
    """(B, n, H, dh) -> (B, ceil(n / S), S, H, dh), zeros behind the end"""
    B, n = x.shape[:2]
    x = F.pad(x, (0, 0, 0, 0, 0, -n % S))
    return x.view(B, -1, S, *x.shape[2:])


def block_masks(n: int, S: int):
    """For n positions from a block's start: own (n, C, S), past (n, C) of grouped_softmax."""
    i, C = torch.arange(n), -(-n // S)
    j = torch.arange(C * S).view(C, S)
    own = (j // S == (i // S)[:, None, None]) & (j <= i[:, None, None]) & (j % S != S - 1)
    return own, torch.arange(C) < (i // S)[:, None]


def landmark_attention(q: Tensor, k: Tensor, v: Tensor, S: int) -> Tensor:
    """Training form: the whole past, grouped. q, k (rotated), v (B, L, H, dh) -> (B, L, H, dh)"""
    L, dh = q.shape[1], q.shape[-1]
    kb, vb = blocks_of(k, S), blocks_of(v, S)
    s = torch.einsum("bihe,bcshe->bhics", q, kb) / math.sqrt(dh)
    own, past = block_masks(L, S)
    return torch.einsum("bhics,bcshe->bihe", grouped_softmax(s, own, past), vb)


def choose_blocks(r: Tensor, K: int, selection: str) -> Tensor:
    """r (B, H, n, c) landmark scores -> (B, H, n, K) chosen blocks in the order of the text"""
    if selection == "all_heads":
        r = r.softmax(-1).amax(1, keepdim=True).expand_as(r)
    return torch.sort(r, dim=-1, descending=True, stable=True).indices[..., :K].sort(-1).values


def landmark_inference(q: Tensor, k: Tensor, v: Tensor, S: int, K: int, P: int, theta: Optional[float],
                       selection: str = "head"):
    """Inference form. Positions are cut into local segments of P. A position sees its segment so far, and the
    K blocks before the segment whose landmarks it scores highest; grouped softmax over both. Rotary positions
    are those of slots: the segment begins at slot min(c, K+1), c blocks being cached; a fetched block is the
    r-th of K in the order of the text, at slot r, one later when it is among the K newest of more than K.
    For the ranking the K newest landmarks are at slots 1..K, all older ones at slot 0 (c <= K: true places).
    q, k (not rotated), v (B, L, H, dh) -> out (B, L, H, dh), idx (B, L, H, K) with -1 for none, the smallest
    distance between a chosen and a refused score"""
    B, L, H, dh = q.shape
    out, gap = torch.zeros_like(q), float("inf")
    idx = torch.full((B, L, H, K), NO_CHUNK)
    for start in range(0, L, P):
        end, c = min(start + P, L), start // S
        m, Kc = end - start, min(K, c)
        at = min(c, K + 1) * S + torch.arange(m)
        ql, kl = (rotate(x[:, start:end], at[:, None], theta) for x in (q, k))
        kb, vb = blocks_of(kl, S), blocks_of(v[:, start:end], S)
        s = torch.einsum("bihe,bcshe->bhics", ql, kb) / math.sqrt(dh)
        own, past = block_masks(m, S)
        if Kc > 0:
            older = c - K if c > K else 0                       # blocks older than the K newest
            slot = torch.arange(c) if c <= K else (torch.arange(c) - older + 1).clamp(min=0)
            lmk = rotate(k[:, S - 1:start:S], (slot * S + S - 1)[:, None], theta)
            r = torch.einsum("bihe,bche->bhic", ql, lmk) / math.sqrt(dh)
            chosen = choose_blocks(r.detach(), Kc, selection)   # (B, H, m, Kc)
            if Kc < c:
                rank = r.softmax(-1).amax(1, keepdim=True) if selection == "all_heads" else r
                best = rank.detach().sort(-1, descending=True).values
                gap = min(gap, (best[..., Kc - 1] - best[..., Kc]).min().item())
            idx[:, start:end, :, :Kc] = chosen.transpose(1, 2)
            place = torch.arange(Kc) + ((chosen >= older) & (c > K))
            kc, vc = (x[:, :start].view(B, c, S, H, dh).permute(0, 3, 1, 2, 4)[
                torch.arange(B)[:, None, None, None], torch.arange(H)[:, None, None], chosen]
                for x in (k, v))                                # (B, H, m, Kc, S, dh)
            kc = rotate(kc, place[..., None] * S + torch.arange(S), theta)
            s_c = torch.einsum("bihe,bhicse->bhics", ql, kc) / math.sqrt(dh)
            s = torch.cat([s_c, s], 3)
            own = torch.cat([torch.zeros(m, Kc, S, dtype=torch.bool), own], 1)
            past = torch.cat([torch.ones(m, Kc, dtype=torch.bool), past], 1)
        p = grouped_softmax(s, own, past)
        o = torch.einsum("bhics,bcshe->bihe", p[:, :, :, Kc:], vb)
        if Kc > 0:
            o = o + torch.einsum("bhics,bhicse->bihe", p[:, :, :, :Kc], vc)
        out[:, start:end] = o
    return out, idx, gap


# ------------------------------------------------------------------ recurrent memory
def memory_segment_attention(q: Tensor, k: Tensor, v: Tensor, M: int, W: int, slopes: Tensor) -> Tensor:
    """Attention inside one segment [M read positions, text, M write positions], causal. Window and ALiBi hold
    between text positions; a memory position sees, and is seen, at any distance and without bias.
    q, k, v (B, M + n + M, H, dh) -> same"""
    N, dh = q.shape[1], q.shape[-1]
    i = torch.arange(N)
    text = (i >= M) & (i < N - M)
    both = text[:, None] & text[None, :]
    dist = i[:, None] - i[None, :]
    s = torch.einsum("bihe,bjhe->bhij", q, k) / math.sqrt(dh)
    s = s - slopes.to(s)[:, None, None] * (dist * both).to(s)
    s = s.masked_fill((dist < 0) | (both & (dist > W)), float("-inf"))
    return torch.einsum("bhij,bjhe->bihe", s.softmax(-1), v)


# ------------------------------------------------------------------ focused transformer
def crossbatch_range(f: int, contexts: int, d: int, stepping: bool) -> int:
    """Contexts before number f of the flattened batch that it sees, `contexts` being those of a row."""
    if stepping and contexts > 1:
        step = -(-(d + 1) // (contexts - 1))
        d = min(f % contexts * step, d)
    return min(d, f)


def crossbatch_attention(q: Tensor, k: Tensor, v: Tensor, n: int, d: int, stepping: bool) -> Tensor:
    """Training form, no positions. Rows are cut into local contexts of n; context f of the flattened batch
    sees itself causally and the crossbatch_range(f) contexts before it wholly, whatever row they are of, in
    one softmax. q, k, v (B, T, H, dh), T a multiple of n -> same"""
    B, T, H, dh = q.shape
    q, k, v = (x.reshape(B * T // n, n, H, dh) for x in (q, k, v))
    causal = torch.arange(n)[:, None] >= torch.arange(n)
    out = []
    for f in range(B * T // n):
        r = crossbatch_range(f, T // n, d, stepping)
        kk, vv = k[f - r:f + 1].flatten(0, 1), v[f - r:f + 1].flatten(0, 1)
        s = torch.einsum("ihe,jhe->hij", q[f], kk) / math.sqrt(dh)
        seen = torch.cat([torch.ones(n, r * n, dtype=torch.bool), causal], 1)
        p = s.masked_fill(~seen, float("-inf")).softmax(-1)
        out.append(torch.einsum("hij,jhe->ihe", p, vv))
    return torch.stack(out).reshape(B, T, H, dh)


def memory_attention(q: Tensor, k: Tensor, v: Tensor, n: int, top_k: int):
    """Inference form, no positions: own local context causally, and of all positions before it the top_k best
    keys of each query and head (0: all), in one softmax.
    q, k, v (B, T, H, dh) -> out (B, T, H, dh), smallest distance between a chosen and a refused score"""
    T, dh = q.shape[1], q.shape[-1]
    i = torch.arange(T)
    s = torch.einsum("bihe,bjhe->bhij", q, k) / math.sqrt(dh)
    memory = i[None, :] < (i // n * n)[:, None]
    local = (i[None, :] <= i[:, None]) & ~memory
    seen, gap = local | memory, float("inf")
    if 0 < top_k < T:
        r = s.detach().masked_fill(~memory, float("-inf"))
        best = torch.sort(r, dim=-1, descending=True, stable=True)
        kept = torch.zeros_like(r, dtype=torch.bool).scatter(-1, best.indices[..., :top_k], True)
        seen = local | (kept & memory)
        distance = best.values[..., top_k - 1] - best.values[..., top_k]
        distance = distance[torch.isfinite(distance)]
        gap = distance.min().item() if distance.numel() else gap
    p = s.masked_fill(~seen, float("-inf")).softmax(-1)
    return torch.einsum("bhij,bjhe->bihe", p, v), gap


# ------------------------------------------------------------------ vector-quantised attention
def codebook_of(count: Tensor, total: Tensor) -> Tensor:
    """count (H, N), total (H, N, dh) -> codewords (H, N, dh)"""
    return total / count.clamp(min=SMALLEST_COUNT)[..., None]


def nearest_codes(k: Tensor, codes: Tensor):
    """k (B, L, H, dh), codes (H, N, dh) -> z (B, L, H), squared distances to all (B, L, H, N)"""
    d2 = (k[..., None, :] - codes).pow(2).sum(-1)
    return d2.argmin(-1), d2


def vq_attention(q: Tensor, k: Tensor, v: Tensor, codes: Tensor, W: int, straight_through: bool):
    """Keys in the window (itself and W before) exactly, older ones as their codeword, one softmax, no
    positions. The gradient of an older key's score passes to the key as if it were not quantised
    (straight-through), or stops; codes are constants. Inference sums older keys per code: n_s of them with value
    sum u_s weigh n_s exp(q C_s) and have the mean value u_s / n_s (Decoder.mix_longvq).
    q, k, v (B, L, H, dh), codes (H, N, dh) -> out (B, L, H, dh), z (B, L, H)"""
    L, H, dh = q.shape[1:]
    z, _ = nearest_codes(k.detach(), codes)
    older = codes[torch.arange(H), z]                                       # (B, L, H, dh)
    if straight_through:
        older = k + (older - k).detach()
    dist = torch.arange(L)[:, None] - torch.arange(L)
    s = torch.where(dist > W, torch.einsum("bihe,bjhe->bhij", q, older), torch.einsum("bihe,bjhe->bhij", q, k))
    s = (s / math.sqrt(dh)).masked_fill(dist < 0, float("-inf"))
    return torch.einsum("bhij,bjhe->bihe", s.softmax(-1), v), z


def codebook_update(count: Tensor, total: Tensor, k: Tensor, z: Tensor, decay: float):
    """After a step, over all its keys: count <- decay count + (1 - decay) #keys, total likewise."""
    one_hot = F.one_hot(z, count.shape[1]).to(k)
    new_count = decay * count + (1 - decay) * one_hot.sum((0, 1))
    new_total = decay * total + (1 - decay) * torch.einsum("blhn,blhe->hne", one_hot, k)
    return new_count, new_total


def revive_codes(count: Tensor, total: Tensor, k: Tensor, row: Tensor, place: Tensor, share: float):
    """After the update: a code whose count is below `share` times its head's mean count starts again at key
    k[row, place] of this step, with the mean count. k (B, L, H, dh); row, place (H, N) drawn uniformly."""
    mean = count.mean(-1, keepdim=True).expand_as(count)
    dead = count < share * mean
    fresh = k[row, place, torch.arange(count.shape[0])[:, None]]
    return torch.where(dead, mean, count), torch.where(dead[..., None], fresh * mean[..., None], total)


def damped_mean(x: Tensor, ema: Tensor) -> Tensor:
    """y_t = a x_t + (1 - a) y_(t-1), a = sigmoid(ema) per channel, y_(-1) = 0.  x (B, L, d) -> (B, L, d)"""
    a, y, out = ema.sigmoid(), torch.zeros_like(x[:, 0]), []
    for t in range(x.shape[1]):
        y = a * x[:, t] + (1 - a) * y
        out.append(y)
    return torch.stack(out, 1)


# ------------------------------------------------------------------ tensorized attention
def tensorized_attention(q: Tensor, k: Tensor, v: Tensor, fold: List[int], slopes: Tensor) -> Tensor:
    """Hop r attends at distances 0, s_r, 2 s_r, ... (t_r of them; t_r = 0: all there are), s_r the product of
    the folds before, and passes on what hop r-1 found there. ALiBi counts steps.
    q, k, v (B, L, H, dh) -> same"""
    L, dh = q.shape[1], q.shape[-1]
    stride = 1
    dist = torch.arange(L)[:, None] - torch.arange(L)
    scores = torch.einsum("bihe,bjhe->bhij", q, k) / math.sqrt(dh)
    for t in fold:
        steps = dist // stride
        seen = (dist >= 0) & (dist % stride == 0) & ((steps < t) if t else True)
        s = scores - slopes.to(scores)[:, None, None] * steps.to(scores)
        v = torch.einsum("bhij,bjhe->bihe", s.masked_fill(~seen, float("-inf")).softmax(-1), v)
        stride *= t
    return v


# ------------------------------------------------------------------ recurrent heads
def mamba_mixer(x: Tensor, p: Weights, prefix: str) -> Tensor:
    """Selective state space over x (B, L, d), already normalised -> (B, L, dr)"""
    N = p[f"{prefix}.a_log"].shape[1]
    R = p[f"{prefix}.w_dt"].shape[1]
    u, z = F.linear(x, p[f"{prefix}.w_in"]).chunk(2, -1)
    width = p[f"{prefix}.conv_w"].shape[1]
    padded = F.pad(u, (0, 0, width - 1, 0))
    taps = torch.stack([padded[:, w:w + x.shape[1]] for w in range(width)], -1)      # (B, L, dr, width)
    u = F.silu((taps * p[f"{prefix}.conv_w"]).sum(-1) + p[f"{prefix}.conv_b"])
    low, b, c = F.linear(u, p[f"{prefix}.w_x"]).split([R, N, N], -1)
    dt = F.softplus(F.linear(low, p[f"{prefix}.w_dt"]) + p[f"{prefix}.b_dt"])        # (B, L, dr)
    a = -p[f"{prefix}.a_log"].exp()
    state, y = torch.zeros_like(u[:, 0, :, None] * a), []
    for t in range(x.shape[1]):
        state = (dt[:, t, :, None] * a).exp() * state \
            + dt[:, t, :, None] * b[:, t, None, :] * u[:, t, :, None]
        y.append((state * c[:, t, None, :]).sum(-1))
    return (torch.stack(y, 1) + p[f"{prefix}.d"] * u) * F.silu(z)


def recency_ratio(probabilities: Tensor, near: int) -> Tensor:
    """Mean share of attention at distances below `near`: (B, H, L, L) -> (H)"""
    L = probabilities.shape[-1]
    dist = torch.arange(L)[:, None] - torch.arange(L)
    return (probabilities * (dist < near)).sum(-1).mean((0, 2))


def most_recent_heads(ratio: Tensor, fraction: float) -> List[int]:
    """ratio (N_up * H) -> the round(fraction * N_up * H) heads with the largest ratio, sorted; lower first
    on a tie. These are config.json's recurrent_heads."""
    count = round(fraction * ratio.numel())
    return sorted(torch.sort(ratio, descending=True, stable=True).indices[:count].tolist())


# ------------------------------------------------------------------ layers
def heads(x: Tensor, p: Weights, name: str, dh: int) -> Tensor:
    """(B, L, d) -> (B, L, heads, dh)"""
    y = F.linear(x, p[name])
    return y.view(*y.shape[:2], -1, dh)


def upper_mix(x: Tensor, p: Weights, j: int, cfg: Config, tr: Optional[Training], act: dict) -> Tensor:
    """What upper layer j reads, before W_o: x (B, L, d), already normalised -> (B, L, d). `tr` is None at
    inference."""
    B, L, d = x.shape
    name, dh, kind = f"upper.{j}", cfg.dh, cfg.long_range
    if kind == "recurformer":
        mix = x.new_zeros(B, L, cfg.H, dh)
        replaced = cfg.replaced(j)
        kept = [h for h in range(cfg.H) if h not in replaced]
        if kept:
            q, k, v = (heads(x, p, f"{name}.attn.{m}", dh) for m in ("wq", "wk", "wv"))
            mix[:, :, kept] = window_attention(q, k, v, NO_WINDOW, cfg.slopes(True)[kept])[0]
        if replaced:
            mix[:, :, replaced] = mamba_mixer(x, p, f"{name}.mamba").view(B, L, -1, dh)
        return mix.reshape(B, L, d)
    x_qk = damped_mean(x, p[f"{name}.attn.ema"]) if kind == "longvq" else x
    q, k = (heads(x_qk, p, f"{name}.attn.{m}", dh) for m in ("wq", "wk"))
    v = heads(x, p, f"{name}.attn.wv", dh)
    if kind == "landmark":
        if tr is not None:
            at = torch.arange(L)[:, None]
            o = landmark_attention(rotate(q, at, cfg.landmark_theta), rotate(k, at, cfg.landmark_theta), v,
                                   cfg.chunk_size)
        else:
            o, act[f"idx.{j}"], gap = landmark_inference(
                q, k, v, cfg.chunk_size, cfg.chunk_top_k, cfg.landmark_local_size, cfg.landmark_theta,
                cfg.landmark_selection)
            act["gap"] = min(act.get("gap", gap), gap)
    elif kind == "fot" and j in cfg.memory_layers:
        if tr is not None:
            o = crossbatch_attention(q, k, v, cfg.local_context_size, tr.crossbatch_contexts,
                                     tr.crossbatch_stepping)
        else:
            o, gap = memory_attention(q, k, v, cfg.local_context_size, cfg.memory_top_k)
            act["gap"] = min(act.get("gap", gap), gap)
    elif kind == "longvq":
        q = rms_norm(q, p[f"{name}.attn.q_norm"], cfg.rms_norm_eps)
        k = rms_norm(k, torch.ones(dh).to(k), cfg.rms_norm_eps)
        codes = codebook_of(p[f"{name}.codebook.count"], p[f"{name}.codebook.sum"])
        o, z = vq_attention(q, k, v, codes, cfg.sliding_window, tr is not None and tr.codebook_straight_through)
        d2 = nearest_codes(k, codes)[1]
        near = d2.detach().sort(-1).values
        act["gap"] = min(act.get("gap", float("inf")), (near[..., 1] - near[..., 0]).min().item())
        act[f"codes.{j}"], act[f"keys.{j}"] = z, k
        act[f"commitment.{j}"] = d2.gather(-1, z[..., None]).mean() / dh
        o = o.reshape(B, L, d) * 2 * F.linear(x, p[f"{name}.attn.w_gate"]).sigmoid()
    elif kind == "tensorized":
        o = tensorized_attention(q, k, v, cfg.tensor_fold, cfg.slopes(True))
    else:
        o = window_attention(q, k, v, cfg.sliding_window, cfg.slopes())[0]
    return o.reshape(B, L, d)


def layer(h: Tensor, p: Weights, name: str, cfg: Config, mix) -> Tensor:
    """Pre-norm layer around mix: (B, L, d) -> (B, L, d)"""
    x = rms_norm(h, p[f"{name}.attn_norm"], cfg.rms_norm_eps)
    a = h + F.linear(mix(x), p[f"{name}.attn.wo"])
    return a + swiglu(rms_norm(a, p[f"{name}.mlp_norm"], cfg.rms_norm_eps), p, f"{name}.mlp")


def layer_names(cfg: Config) -> List[str]:
    return [f"lower.{i}" for i in range(cfg.num_lower_layers)] \
        + [f"upper.{j}" for j in range(cfg.num_upper_layers)]


def window_mix(p: Weights, name: str, cfg: Config):
    def mix(x):
        q, k, v = (heads(x, p, f"{name}.attn.{m}", cfg.dh) for m in ("wq", "wk", "wv"))
        return window_attention(q, k, v, cfg.sliding_window, cfg.slopes())[0].flatten(2)
    return mix


# ------------------------------------------------------------------ whole models
def rmt_forward(p: Weights, tokens: Tensor, cfg: Config, tr: Optional[Training], act: dict) -> Tensor:
    """Every segment of n tokens is run through the whole stack as [m, x, m]; the last M outputs, after the
    final norm, are m of the next segment. tokens (B, T) -> normalised hidden states (B, T, d)"""
    B, T = tokens.shape
    M, n = cfg.memory_size, cfg.segment_size
    m = p["memory"].expand(B, M, cfg.hidden_size)
    per_layer = {name: [] for name in layer_names(cfg)}
    hidden = []
    for t, start in enumerate(range(0, T, n)):
        if tr is not None and tr.bptt_segments and t % tr.bptt_segments == 0 and t > 0:
            m = m.detach()
        x = F.embedding(tokens[:, start:start + n], p["tok_emb"])
        h = torch.cat([m, x, m], 1)
        for name in layer_names(cfg):
            def mix(y, name=name):
                q, k, v = (heads(y, p, f"{name}.attn.{w}", cfg.dh) for w in ("wq", "wk", "wv"))
                return memory_segment_attention(q, k, v, M, cfg.sliding_window, cfg.slopes()).flatten(2)
            h = layer(h, p, name, cfg, mix)
            per_layer[name].append(h[:, M:h.shape[1] - M])
        h = rms_norm(h, p["out_norm"], cfg.rms_norm_eps)
        m = h[:, h.shape[1] - M:]
        act[f"memory.{t + 1}"] = m
        hidden.append(h[:, M:h.shape[1] - M])
    act.update({name: torch.cat(x, 1) for name, x in per_layer.items()})
    return torch.cat(hidden, 1)


def with_landmarks(tokens: Tensor, S: int, fill: int) -> Tensor:
    """(B, T) -> (B, T + T // (S-1)): one `fill` after every S-1 tokens"""
    pieces = [F.pad(x, (0, 1), value=fill) if x.shape[1] == S - 1 else x for x in tokens.split(S - 1, 1)]
    return torch.cat(pieces, 1)


def text_positions(T: int, cfg: Config) -> Tensor:
    """(T): the position of each text token"""
    i = torch.arange(T)
    return i + i // (cfg.chunk_size - 1) if cfg.long_range == "landmark" else i


def forward(p: Weights, tokens: Tensor, cfg: Config, tr: Optional[Training]) -> Dict[str, Tensor]:
    """tokens (B, T) text ids; tr: training form, None: inference form -> named results.
    logits (B, L, V); token_loss (B, T-1): loss of token j+1 given the text up to j."""
    act = {}
    if cfg.long_range == "rmt":
        hidden = rmt_forward(p, tokens, cfg, tr, act)
    else:
        ids = with_landmarks(tokens, cfg.chunk_size, cfg.landmark_token_id) \
            if cfg.long_range == "landmark" else tokens
        h = F.embedding(ids, p["tok_emb"])
        for i in range(cfg.num_lower_layers):
            h = act[f"lower.{i}"] = layer(h, p, f"lower.{i}", cfg, window_mix(p, f"lower.{i}", cfg))
        for j in range(cfg.num_upper_layers):
            def mix(x, j=j):
                act[f"upper.{j}.mix"] = y = upper_mix(x, p, j, cfg, tr, act)
                return y
            h = act[f"upper.{j}"] = layer(h, p, f"upper.{j}", cfg, mix)
        hidden = rms_norm(h, p["out_norm"], cfg.rms_norm_eps)
    act["logits"] = F.linear(hidden, p["tok_emb"])
    T = tokens.shape[1]
    logits = act["logits"][:, text_positions(T, cfg)][:, :-1]
    act["token_loss"] = logits.logsumexp(-1) - logits.gather(-1, tokens[:, 1:, None])[..., 0]
    act["loss"] = act["token_loss"].mean()
    act["objective"] = act["loss"]
    if cfg.long_range == "longvq" and tr is not None:
        commitment = sum(act[f"commitment.{j}"] for j in range(cfg.num_upper_layers))
        act["objective"] = act["loss"] + tr.commitment_weight * commitment
    return act


# ------------------------------------------------------------------ one position at a time
class Decoder:
    """Inference as a program does it: one text token at a time, with a state. Written apart from the batch
    forms, so that it checks them."""

    def __init__(self, p: Weights, cfg: Config, B: int):
        self.p, self.cfg, self.B, self.at = p, cfg, B, 0
        self.state = {name: {} for name in layer_names(cfg)}
        self.m = p["memory"].expand(B, -1, -1) if cfg.long_range == "rmt" else None

    def step(self, token: Tensor) -> Tensor:
        """token (B) -> logits (B, V)"""
        cfg = self.cfg
        if cfg.long_range == "rmt":
            return self.step_rmt(token)
        logits = self.position(F.embedding(token, self.p["tok_emb"]))
        if cfg.long_range == "landmark" and self.at % cfg.chunk_size == cfg.chunk_size - 1:
            self.position(self.p["tok_emb"][cfg.landmark_token_id].expand(self.B, -1))
        return logits

    def position(self, h: Tensor) -> Tensor:
        for name in layer_names(self.cfg):
            h = layer(h[:, None], self.p, name, self.cfg,
                      lambda x, name=name: self.mix(x[:, 0], name)[:, None])[:, 0]
        self.at += 1
        return F.linear(rms_norm(h, self.p["out_norm"], self.cfg.rms_norm_eps), self.p["tok_emb"])

    def qkv(self, x: Tensor, name: str, x_v: Optional[Tensor] = None):
        get = (lambda m, y: F.linear(y, self.p[f"{name}.attn.{m}"]).view(self.B, -1, self.cfg.dh))
        return get("wq", x), get("wk", x), get("wv", x if x_v is None else x_v)

    @staticmethod
    def attend(q, k, v, bias=0.0):
        """q (B, H, dh), k, v (B, n, H, dh), bias broadcastable to (B, H, n) -> (B, H, dh)"""
        s = torch.einsum("bhe,bnhe->bhn", q, k) / math.sqrt(q.shape[-1]) + bias
        return torch.einsum("bhn,bnhe->bhe", s.softmax(-1), v)

    def append(self, state, **rows):
        for key, row in rows.items():
            row = row[:, None]
            state[key] = torch.cat([state[key], row], 1) if key in state else row

    def mix(self, x: Tensor, name: str) -> Tensor:
        cfg, state, i = self.cfg, self.state[name], self.at
        kind = cfg.long_range if name.startswith("upper") else "none"
        j = int(name.split(".")[1])
        if kind == "fot" and j not in cfg.memory_layers:
            kind = "none"
        return getattr(self, "mix_" + kind)(x, name, j, state, i).reshape(self.B, -1)

    def mix_none(self, x, name, j, state, i):
        q, k, v = self.qkv(x, name)
        self.append(state, k=k, v=v)
        for key in ("k", "v"):
            state[key] = state[key][:, -(self.cfg.sliding_window + 1):]
        n = state["k"].shape[1]
        return self.attend(q, state["k"], state["v"],
                           -self.cfg.slopes()[:, None] * torch.arange(n - 1, -1, -1))

    def mix_landmark(self, x, name, j, state, i):
        """One query at a time, block by block."""
        cfg = self.cfg
        S, K, P, theta = cfg.chunk_size, cfg.chunk_top_k, cfg.landmark_local_size, cfg.landmark_theta
        q, k, v = self.qkv(x, name)
        self.append(state, k=k, v=v)
        start = i // P * P
        c = start // S
        first = min(c, K + 1) * S                       # rotary position of the segment's start
        q = rotate(q, torch.tensor(first + i - start), theta)
        out = torch.zeros_like(q)
        score = (lambda b, h, j, at: (q[b, h] @ rotate(state["k"][b, j, h], torch.tensor(at), theta)
                                      / math.sqrt(cfg.dh)))
        slot = {t: (t if c <= K else max(0, t - (c - K) + 1)) for t in range(c)}
        ranking = torch.tensor([[[score(b, h, t * S + S - 1, slot[t] * S + S - 1) for t in range(c)]
                                 for h in range(cfg.H)] for b in range(self.B)])
        if cfg.landmark_selection == "all_heads" and c:
            ranking = ranking.softmax(-1).amax(1, keepdim=True).expand_as(ranking)
        for b in range(self.B):
            for h in range(cfg.H):
                order = sorted(range(c), key=lambda t: (-ranking[b, h, t].item(), t))
                blocks = []                             # (first position in the text, its rotary position)
                for r, t in enumerate(sorted(order[:K])):
                    blocks.append((t * S, (r + (1 if c > K and t >= c - K else 0)) * S))
                blocks += [(t, first + t - start) for t in range(start, i // S * S, S)]
                own = range(i // S * S, i + (i % S != S - 1))
                s_own = [score(b, h, t, first + t - start) for t in own]
                s_lmk = [score(b, h, t + S - 1, at + S - 1) for t, at in blocks]
                share = torch.stack(s_own + s_lmk).softmax(0)
                for w, t in zip(share, own):
                    out[b, h] += w * state["v"][b, t, h]
                for w, (t, at) in zip(share[len(s_own):], blocks):
                    inside = torch.stack([score(b, h, t + o, at + o) for o in range(S - 1)]).softmax(0)
                    out[b, h] += w * (inside[:, None] * state["v"][b, t:t + S - 1, h]).sum(0)
        return out

    def mix_fot(self, x, name, j, state, i):
        cfg = self.cfg
        q, k, v = self.qkv(x, name)
        self.append(state, k=k, v=v)
        begin = i // cfg.local_context_size * cfg.local_context_size
        if not 0 < cfg.memory_top_k < begin:
            return self.attend(q, state["k"], state["v"])
        s = torch.einsum("bhe,bnhe->bhn", q, state["k"][:, :begin])
        top = s.topk(cfg.memory_top_k, -1).indices
        bias = torch.full((self.B, cfg.H, i + 1), float("-inf"), dtype=x.dtype).scatter(-1, top, 0.0)
        bias[..., begin:] = 0
        return self.attend(q, state["k"], state["v"], bias)

    def mix_longvq(self, x, name, j, state, i):
        cfg, p = self.cfg, self.p
        H, N, dh, W = cfg.H, cfg.codebook_size, cfg.dh, cfg.sliding_window
        a = p[f"{name}.attn.ema"].sigmoid()
        state["ema"] = a * x + (1 - a) * state.get("ema", torch.zeros_like(x))
        q, k, v = self.qkv(state["ema"], name, x)
        q = rms_norm(q, p[f"{name}.attn.q_norm"], cfg.rms_norm_eps)
        k = rms_norm(k, torch.ones(dh).to(k), cfg.rms_norm_eps)
        codes = codebook_of(p[f"{name}.codebook.count"], p[f"{name}.codebook.sum"])
        self.append(state, k=k, v=v)
        state.setdefault("n", x.new_zeros(self.B, H, N))
        state.setdefault("u", x.new_zeros(self.B, H, N, dh))
        if state["k"].shape[1] > W + 1:                 # the oldest leaves the window
            z, _ = nearest_codes(state["k"][:, :1], codes)
            hot = F.one_hot(z[:, 0], N).to(x)
            state["n"] = state["n"] + hot
            state["u"] = state["u"] + hot[..., None] * state["v"][:, 0, :, None]
            state["k"], state["v"] = state["k"][:, 1:], state["v"][:, 1:]
        e = torch.einsum("bhe,bnhe->bhn", q, state["k"]).div(math.sqrt(dh)).exp()
        f = torch.einsum("bhe,hne->bhn", q, codes).div(math.sqrt(dh)).exp()
        o = torch.einsum("bhn,bnhe->bhe", e, state["v"]) + torch.einsum("bhn,bhne->bhe", f, state["u"])
        o = o / (e.sum(-1) + (f * state["n"]).sum(-1))[..., None]
        return o.reshape(self.B, -1) * 2 * F.linear(x, p[f"{name}.attn.w_gate"]).sigmoid()

    def mix_tensorized(self, x, name, j, state, i):
        cfg = self.cfg
        q, k, v = self.qkv(x, name)
        self.append(state, k=k)
        stride = 1
        for r, t in enumerate(cfg.tensor_fold):
            self.append(state, **{f"v{r}": v})
            places = list(range(i, -1, -stride))[:t or None] if stride else [i]
            v = self.attend(q, state["k"][:, places], state[f"v{r}"][:, places],
                            -cfg.slopes(True)[:, None] * torch.arange(len(places)))
            stride *= t
        return v

    def mix_recurformer(self, x, name, j, state, i):
        cfg, p = self.cfg, self.p
        replaced = cfg.replaced(j)
        kept = [h for h in range(cfg.H) if h not in replaced]
        out = x.new_zeros(self.B, cfg.H, cfg.dh)
        if kept:
            q, k, v = self.qkv(x, name)
            self.append(state, k=k, v=v)
            out[:, kept] = self.attend(q, state["k"], state["v"],
                                       -cfg.slopes(True)[kept][:, None] * torch.arange(i, -1, -1))
        if replaced:
            w = {key: p[f"{name}.mamba.{key}"]
                 for key in ("w_in", "conv_w", "conv_b", "w_x", "w_dt", "b_dt", "a_log", "d")}
            R, N, width = w["w_dt"].shape[1], w["a_log"].shape[1], w["conv_w"].shape[1]
            u, z = F.linear(x, w["w_in"]).chunk(2, -1)
            past = state.get("conv", x.new_zeros(self.B, width - 1, u.shape[-1]))
            recent = torch.cat([past, u[:, None]], 1)
            state["conv"] = recent[:, 1:]
            u = F.silu(torch.einsum("bwc,cw->bc", recent, w["conv_w"]) + w["conv_b"])
            low, bb, cc = F.linear(u, w["w_x"]).split([R, N, N], -1)
            dt = F.softplus(F.linear(low, w["w_dt"]) + w["b_dt"])
            old = state.get("ssm", x.new_zeros(self.B, u.shape[-1], N))
            state["ssm"] = torch.exp(-dt[..., None] * w["a_log"].exp()) * old \
                + (dt * u)[..., None] * bb[:, None]
            y = torch.einsum("bcn,bn->bc", state["ssm"], cc) + w["d"] * u
            out[:, replaced] = (y * F.silu(z)).view(self.B, -1, cfg.dh)
        return out

    # rmt: rows of memory (read, then write) and of text are kept apart
    def step_rmt(self, token):
        cfg = self.cfg
        if self.at % cfg.segment_size == 0:
            self.state = {name: {} for name in layer_names(cfg)}
            for r in range(cfg.memory_size):
                self.position_rmt(self.m[:, r], "memory")
        logits = F.linear(self.position_rmt(F.embedding(token, self.p["tok_emb"]), "text"), self.p["tok_emb"])
        self.at += 1
        if self.at % cfg.segment_size == 0:
            rows = [self.position_rmt(self.m[:, r], "memory") for r in range(cfg.memory_size)]
            self.m = torch.stack(rows, 1) if rows else self.m
        return logits

    def position_rmt(self, h, kind):
        cfg = self.cfg

        def mix(x, name):
            state = self.state[name]
            q, k, v = self.qkv(x[:, 0], name)
            self.append(state, **{f"{kind}_k": k, f"{kind}_v": v})
            W = cfg.sliding_window
            keys, values, bias = [], [], []
            for other in ("memory", "text"):
                if f"{other}_k" not in state:
                    continue
                kk, vv = state[f"{other}_k"], state[f"{other}_v"]
                if kind == other == "text":
                    kk, vv = kk[:, -(W + 1):], vv[:, -(W + 1):]
                    bias.append(-cfg.slopes()[:, None] * torch.arange(kk.shape[1] - 1, -1, -1))
                else:
                    bias.append(torch.zeros(cfg.H, kk.shape[1]).double())
                keys.append(kk)
                values.append(vv)
            return self.attend(q, torch.cat(keys, 1), torch.cat(values, 1), torch.cat(bias, 1)).flatten(1)[:, None]

        for name in layer_names(cfg):
            h = layer(h[:, None], self.p, name, cfg, lambda x, name=name: mix(x, name))[:, 0]
        return rms_norm(h, self.p["out_norm"], cfg.rms_norm_eps)


# ------------------------------------------------------------------ golden files
def random_tokens(case: Case, seed: int) -> Tensor:
    gen = torch.Generator().manual_seed(1_000_003 * seed + 17)
    cfg = case.model
    tokens = torch.randint(0, cfg.vocab_size, (case.B, case.T), generator=gen)
    if cfg.long_range == "landmark":
        tokens = torch.where(tokens == cfg.landmark_token_id, (tokens + 1) % cfg.vocab_size, tokens)
    return tokens


def run_case(case: Case, seed: int):
    """-> weights, tokens, results of the training form, gradients of `objective`, results of inference"""
    tokens = random_tokens(case, seed)
    p = {n: x if is_buffer(n) else x.requires_grad_() for n, x in init_weights(case, seed).items()}
    act = forward(p, tokens, case.model, case.training)
    watched = {n: x for n, x in act.items() if torch.is_tensor(x) and x.requires_grad}
    for x in watched.values():
        x.retain_grad()
    act["objective"].backward()
    with torch.no_grad():
        ev = forward(p, tokens, case.model, None)
    return p, tokens, act, watched, ev


def choice_gap(case: Case, act: dict, ev: dict) -> float:
    return min(ev.get("gap", float("inf")), act.get("gap", float("inf")))


def write_case(case: Case, seed: int, out: str):
    cfg = case.model
    p, tokens, act, watched, ev = run_case(case, seed)
    gap = choice_gap(case, act, ev)
    meta = {"kind": "model", "config": json.dumps(plain(cfg, cfg.long_range)),
            "training": json.dumps(plain(case.training, cfg.long_range)),
            "name": case.name, "seed": str(seed), "choice_gap": f"{gap:.6g}",
            "source": "float64 run, stored as float32"}
    t = {"input/tokens": tokens.to(torch.int32)}
    t.update({f"weight/{n}": _f32(x) for n, x in p.items()})
    t.update({f"grad/{n}": _f32(x.grad if x.grad is not None else torch.zeros_like(x))
              for n, x in p.items() if not is_buffer(n)})
    for n, x in act.items():
        if torch.is_tensor(x) and not n.startswith("keys."):
            t[f"act/{n}"] = x.to(torch.int32) if x.dtype == torch.int64 else _f32(x)
    keep = {f"upper.{j}.mix" for j in range(cfg.num_upper_layers)} \
        | {f"lower.{cfg.num_lower_layers - 1}"} | {n for n in act if n.startswith("memory.")}
    t.update({f"act_grad/{n}": _f32(x.grad) for n, x in watched.items() if n in keep and x.grad is not None})
    if cfg.long_range in ("landmark", "fot"):           # elsewhere inference computes the same
        for n in ["logits", "token_loss", "loss"] + [n for n in ev if n.startswith("idx.")]:
            t[f"eval/{n}"] = ev[n].to(torch.int32) if ev[n].dtype == torch.int64 else _f32(ev[n])
    if cfg.long_range == "longvq":
        for j in range(cfg.num_upper_layers):
            count, total = codebook_update(p[f"upper.{j}.codebook.count"], p[f"upper.{j}.codebook.sum"],
                                           act[f"keys.{j}"].detach(), act[f"codes.{j}"],
                                           case.training.codebook_decay)
            t[f"after/upper.{j}.codebook.count"], t[f"after/upper.{j}.codebook.sum"] = _f32(count), _f32(total)
    print(f"{case.name} seed {seed}: loss {act['loss'].item():.9f} eval {ev['loss'].item():.9f} gap {gap:.3g}")
    _write(out, t, meta)


def kernel_case(c: dict, gen: torch.Generator):
    """One mechanism alone -> (tensors, metadata)"""
    def rnd(*shape):
        return torch.randn(shape, generator=gen, dtype=torch.float64).float().double()

    kind = c["kind"]
    meta = {"kind": kind, "parameters": json.dumps({k: v for k, v in c.items() if k not in ("name", "kind")})}
    if kind == "recurformer":
        B, L, d, dr, N, R, width = (c[n] for n in ("B", "L", "d", "dr", "N", "R", "conv"))
        leaves = {"x": rnd(B, L, d), "w_in": 0.4 * rnd(2 * dr, d), "conv_w": 0.4 * rnd(dr, width),
                  "conv_b": 0.2 * rnd(dr), "w_x": 0.3 * rnd(R + 2 * N, dr), "w_dt": 0.4 * rnd(dr, R),
                  "b_dt": 0.5 * rnd(dr) - 1.5,
                  "a_log": torch.log(torch.arange(1, N + 1).double()) + 0.1 * rnd(dr, N), "d": 1 + 0.2 * rnd(dr)}
        leaves = {n: x.float().double().requires_grad_() for n, x in leaves.items()}
        out = mamba_mixer(leaves["x"], {f"m.{n}": x for n, x in leaves.items()}, "m")
    else:
        B, L, H, dh = (c[n] for n in ("B", "L", "H", "dh"))
        leaves = {n: rnd(B, L, H, dh).requires_grad_() for n in ("q", "k", "v")}
        q, k, v = leaves.values()
        slopes = torch.tensor(c["slopes"], dtype=torch.float64) if c.get("slopes") else alibi_slopes(H)
        extra = {}
        if kind == "landmark":
            out = landmark_attention(q, k, v, c["S"])
            with torch.no_grad():
                extra["inference_out"], idx, gap = landmark_inference(
                    q, k, v, c["S"], c["K"], c["P"], c["rope_theta"], c["selection"])
            extra["idx"], meta["choice_gap"] = idx.to(torch.int32), f"{gap:.6g}"
        elif kind == "rmt":
            out = memory_segment_attention(q, k, v, c["M"], c["W"], slopes)
            extra["slopes"] = slopes
        elif kind == "fot":
            out = crossbatch_attention(q, k, v, c["n"], c["d"], c["stepping"])
            with torch.no_grad():
                extra["inference_out"], gap = memory_attention(q, k, v, c["n"], c["top_k"])
            meta["choice_gap"] = f"{gap:.6g}"
        elif kind == "longvq":
            count = (0.5 + rnd(H, c["N"]).abs()).float().double()
            total = (rnd(H, c["N"], dh) * count[..., None]).float().double()
            codes = codebook_of(count, total)
            out, z = vq_attention(q, k, v, codes, c["W"], c["straight_through"])
            near = nearest_codes(k.detach(), codes)[1].sort(-1).values
            meta["choice_gap"] = f"{(near[..., 1] - near[..., 0]).min().item():.6g}"
            after = codebook_update(count, total, k.detach(), z, c["decay"])
            extra = {"count": count, "sum": total, "codes": z.to(torch.int32), "count_after": after[0],
                     "sum_after": after[1]}
        elif kind == "tensorized":
            out = tensorized_attention(q, k, v, c["fold"], slopes)
            extra["slopes"] = slopes
        leaves.update({n: x for n, x in extra.items()})
    dout = rnd(*out.shape)
    out.backward(dout)
    t = {n: x if x.dtype == torch.int32 else _f32(x) for n, x in leaves.items()}
    t.update({f"d{n}": _f32(x.grad) for n, x in leaves.items() if x.requires_grad})
    t["out"], t["dout"] = _f32(out), _f32(dout)
    return t, meta


def write_kernels(path: str, seed: int, out_dir: str):
    with open(path) as f:
        cases = json.load(f)
    for number, c in enumerate(cases):
        gen = torch.Generator().manual_seed(7919 * (seed + c.pop("seed", 0)) + 5 + number)
        t, meta = kernel_case(c, gen)
        print(c["name"], "choice gap", meta.get("choice_gap", "-"))
        _write(os.path.join(out_dir, f"kernel-{c['name']}.safetensors"), t, {**meta, "seed": str(seed)})


# ------------------------------------------------------------------ self-check
KINDS = {
    "landmark": dict(chunk_size=4, chunk_top_k=2, landmark_local_size=8),
    "rmt": dict(memory_size=2, segment_size=9, sliding_window=5),
    "fot": dict(memory_layers=[1], local_context_size=6, memory_top_k=4),
    "longvq": dict(codebook_size=5, sliding_window=4),
    "tensorized": dict(tensor_fold=[3, 4]),
    "recurformer": dict(recurrent_heads=[1, 6, 7]),
}


def small_case(kind: str, **changes) -> Case:
    cfg = Config(long_range=kind, hidden_size=16, intermediate_size=24, vocab_size=23, landmark_token_id=22,
                 sliding_window=6)
    training = Training()
    for key, value in {**KINDS.get(kind, {}), **changes}.items():
        target = cfg if hasattr(cfg, key) else training
        assert hasattr(target, key), key
        setattr(target, key, value)
    return Case(name=kind, B=2, T=36, model=cfg, training=training)


def set_up(case: Case, seed: int = 3):
    return {n: x for n, x in init_weights(case, seed).items()}, random_tokens(case, seed)


def largest(a: Tensor, b: Tensor) -> float:
    return (a - b).abs().max().item()


def check_causality(kind: str):
    """Changing a token leaves the logits before it, and of rows before it, bit-equal; its own move."""
    case = small_case(kind)
    p, tokens = set_up(case)
    at = text_positions(case.T, case.model)
    for tr in (case.training, None):
        was = forward(p, tokens, case.model, tr)["logits"]
        for j in range(case.T):
            other = tokens.clone()
            other[1, j] = (other[1, j] + 1) % (case.model.vocab_size - 1)
            moved = forward(p, other, case.model, tr)["logits"] - was
            assert moved[0].abs().max() == 0 and moved[1, :at[j]].abs().sum() == 0, (kind, j)
            assert moved[1, at[j]].abs().max() > 0, (kind, j)


def check_gradients(kind: str):
    """Directional derivatives of every weight against differences of fourth order."""
    case = small_case(kind, **({"codebook_straight_through": False} if kind == "longvq" else {}))
    p, tokens = set_up(case)
    p = {n: x if is_buffer(n) else x.requires_grad_() for n, x in p.items()}
    forward(p, tokens, case.model, case.training)["objective"].backward()
    gen, worst = torch.Generator().manual_seed(5), 0.0
    eps = 2e-6 if kind == "longvq" else 1e-4            # small, so that no key changes its code
    for n, x in p.items():
        if is_buffer(n):
            continue
        direction = torch.randn(x.shape, generator=gen, dtype=torch.float64)
        with torch.no_grad():
            f = {m: forward({**p, n: x + m * eps * direction}, tokens, case.model,
                            case.training)["objective"].item() for m in (-2, -1, 1, 2)}
        expected = (8 * (f[1] - f[-1]) - (f[2] - f[-2])) / (12 * eps)
        got = (x.grad * direction).sum().item()
        error = abs(expected - got) / max(1e-3, abs(expected))
        assert error < 1e-6, (kind, n, expected, got)
        worst = max(worst, error)
    return worst


def check_decoding(kind: str, **changes) -> float:
    """Token by token with a state equals the one-pass inference form."""
    case = small_case(kind, **changes)
    p, tokens = set_up(case)
    with torch.no_grad():
        once = forward(p, tokens, case.model, None)["logits"][:, text_positions(case.T, case.model)]
        decoder = Decoder(p, case.model, case.B)
        steps = torch.stack([decoder.step(tokens[:, t]) for t in range(case.T)], 1)
    error = largest(once, steps)
    assert error < 1e-12, (kind, changes, error)
    return error


def check_degenerate():
    def logits(case, tr="training", p=None):
        own, tokens = set_up(case)
        return forward(p or own, tokens, case.model, case.training if tr else None)["logits"]

    def without_positions():
        """The baseline whose upper layers see everything, without ALiBi."""
        return small_case("tensorized", tensor_fold=[0], upper_alibi_slopes=[0.0] * 4)

    same = {}
    # landmark: one block that is never closed is plain rotary attention
    gen = torch.Generator().manual_seed(2)
    q, k, v = (torch.randn(2, 11, 4, 6, generator=gen, dtype=torch.float64) for _ in range(3))
    causal = torch.arange(11)[:, None] < torch.arange(11)
    s = (torch.einsum("bihe,bjhe->bhij", q, k) / math.sqrt(6)).masked_fill(causal, float("-inf"))
    dense = torch.einsum("bhij,bjhe->bihe", s.softmax(-1), v)
    same["landmark, one open block = plain softmax"] = largest(landmark_attention(q, k, v, 12), dense)
    # landmark: all blocks chosen, true places: inference equals training
    at = torch.arange(11)[:, None]
    out, idx, _ = landmark_inference(q, k, v, 3, 3, 3, 10000.0)
    same["landmark, K >= blocks = training form"] = largest(
        out, landmark_attention(rotate(q, at, 1e4), rotate(k, at, 1e4), v, 3))
    assert idx[:, :3].max() == NO_CHUNK and idx[0, 10, 0].tolist() == [0, 1, 2]
    # landmark: closed-form gradient of the scores: a share of the common softmax, b inside a block,
    # g_j = <dO, v_j>, G_c = sum_j b_cj g_j, G = sum of a g over the common softmax
    own, past = block_masks(11, 3)
    x, g = (torch.randn(2, 4, 11, 4, 3, generator=gen, dtype=torch.float64) for _ in range(2))
    x.requires_grad_()
    (grouped_softmax(x, own, past) * g).sum().backward()
    with torch.no_grad():
        group = own | (past[..., None] & (torch.arange(3) == 2))
        a = x.masked_fill(~group, float("-inf")).flatten(-2).softmax(-1).unflatten(-1, (4, 3))
        b = torch.cat([x[..., :2].softmax(-1), torch.zeros_like(x[..., :1])], -1)
        G_c = (b * g).sum(-1, keepdim=True)
        share = (a[..., -1] * past)[..., None]
        G = ((a * own * g).sum((-1, -2)) + (share * G_c).sum((-1, -2)))[..., None, None]
        ds = a * own * (g - G) + share * b * (g - G_c)
        ds[..., -1:] += share * (G_c - G)
    same["landmark, closed-form gradient"] = largest(ds, x.grad)
    # weights sum to 1, landmarks keep nothing
    weights = grouped_softmax(torch.randn(2, 4, 11, 4, 3, generator=gen, dtype=torch.float64), own, past)
    same["landmark, weights sum to 1"] = (weights.sum((-1, -2)) - 1).abs().max().item()
    assert weights[..., -1].abs().max() == 0
    # landmark: a local segment that holds everything leaves nothing to choose
    case = small_case("landmark", landmark_local_size=48)
    same["landmark, P >= L = training form"] = largest(logits(case), logits(case, None))

    # landmark without positions: reading all blocks equals training, wherever the segments begin
    case = small_case("landmark", landmark_positions="none", chunk_top_k=20)
    same["landmark, no positions, K >= blocks = training form"] = largest(logits(case), logits(case, None))

    # rmt: no memory is independent segments of the window baseline
    case = small_case("rmt", memory_size=0, segment_size=9, sliding_window=5)
    p, tokens = set_up(case)
    base_cfg = small_case("none", sliding_window=5).model
    pieces = [forward(p, x, base_cfg, None)["logits"] for x in tokens.split(9, 1)]
    same["rmt, M = 0 = independent segments"] = largest(
        forward(p, tokens, case.model, case.training)["logits"], torch.cat(pieces, 1))
    # rmt: gradients cross memory inside a block of segments only
    for bptt, reached in ((0, {0, 1, 2, 3}), (2, {2, 3}), (1, {3})):
        case = small_case("rmt", bptt_segments=bptt)
        p, tokens = set_up(case)
        p["out_norm"].requires_grad_()
        act = forward(p, tokens, case.model, case.training)
        only_last = act["token_loss"][0, 30:].sum()     # of the last segment
        grads = torch.autograd.grad(only_last, [act[f"memory.{t}"] for t in (1, 2, 3)], allow_unused=True)
        crossing = {t + 1 for t, g in enumerate(grads) if g is not None and g.abs().max() > 0}
        assert crossing == {t for t in (1, 2, 3) if t - 1 in reached and t in reached}, (bptt, crossing)

    # fot: dense inference is full causal attention without positions; so is training when T <= n
    case = small_case("fot", memory_layers=[0, 1], memory_top_k=0)
    same["fot, dense = full attention without positions"] = largest(
        logits(case, None), logits(without_positions()))
    case = small_case("fot", memory_layers=[0, 1], local_context_size=36, crossbatch_contexts=0)
    same["fot, one context = full attention without positions"] = largest(
        logits(case), logits(without_positions()))
    case = small_case("fot", memory_layers=[0, 1], memory_top_k=36)
    same["fot, top_k >= memory = dense"] = largest(
        logits(case, None), logits(small_case("fot", memory_layers=[0, 1], memory_top_k=0), None))
    # fot: d = 0 sees the local context alone
    case = small_case("fot", memory_layers=[0, 1], crossbatch_contexts=0, num_lower_layers=0)
    p, tokens = set_up(case)
    parts = [forward(p, x, case.model, case.training)["logits"] for x in tokens.split(6, 1)]
    same["fot, d = 0 = local contexts alone"] = largest(
        forward(p, tokens, case.model, case.training)["logits"], torch.cat(parts, 1))
    # fot: a row of one context, d >= contexts before: the documented ranges
    assert [crossbatch_range(f, 4, 6, True) for f in range(8)] == [0, 1, 2, 3, 0, 3, 6, 6]
    assert [crossbatch_range(f, 4, 2, False) for f in range(5)] == [0, 1, 2, 2, 2]

    # one softmax over two parts of the keys, each by itself: merged by log-sum-exp; backward, every part takes
    # the common out and lse (dS_j = p_j (<dO, v_j> - <dO, out>), p_j = e^(s_j - lse))
    x, y = (torch.randn(9, 5, generator=gen, dtype=torch.float64) for _ in range(2))
    s, v = torch.randn(5, 9, generator=gen, dtype=torch.float64).requires_grad_(), x
    whole = s.softmax(-1) @ v
    (whole * y[:5]).sum().backward()
    with torch.no_grad():
        parts = [slice(0, 4), slice(4, 9)]
        lse = [s[:, part].logsumexp(-1, keepdim=True) for part in parts]
        total = torch.stack(lse).logsumexp(0)
        merged = sum((m - total).exp() * (s[:, part].softmax(-1) @ v[part]) for m, part in zip(lse, parts))
        ds = [(s[:, part] - total).exp() * (y[:5] @ v[part].T - (y[:5] * merged).sum(-1, keepdim=True))
              for part in parts]
    same["one softmax in two parts, forward"] = largest(merged, whole)
    same["one softmax in two parts, backward"] = largest(torch.cat(ds, -1), s.grad)

    # longvq: a codebook of the very keys is full attention without positions
    q, k, v = (torch.randn(1, 12, 2, 6, generator=gen, dtype=torch.float64) for _ in range(3))
    codes = k[0].transpose(0, 1).clone()               # (H, 12, dh)
    causal = torch.arange(12)[:, None] < torch.arange(12)
    grads = []
    for quantised in (True, False):
        leaf = k.clone().requires_grad_()
        s = (torch.einsum("bihe,bjhe->bhij", q, leaf) / math.sqrt(6)).masked_fill(causal, float("-inf"))
        full = torch.einsum("bhij,bjhe->bihe", s.softmax(-1), v)
        out = vq_attention(q, leaf, v, codes, 3, True)[0] if quantised else full
        (out * q).sum().backward()
        grads.append(leaf.grad)
    same["longvq, codebook = keys = full attention"] = largest(vq_attention(q, k, v, codes, 3, True)[0], full)
    same["longvq, the same, straight-through gradient of the keys"] = largest(*grads)
    count, total = torch.tensor([[4.0, 0.1, 4.0]]).double(), torch.ones(1, 3, 6).double()
    row, place = torch.zeros(1, 3, dtype=torch.long), torch.tensor([[1, 5, 2]])
    count2, total2 = revive_codes(count, total, k[:, :, :1], row, place, 0.05)
    again = codebook_of(count2, total2)
    assert count2[0, [0, 2]].tolist() == [4, 4] and largest(again[0, 1], k[0, 5, 0]) < 1e-15
    assert largest(again[0, [0, 2]], codebook_of(count, total)[0, [0, 2]]) == 0
    case = small_case("longvq", sliding_window=40)     # a window that holds all, ema off, gate 1
    p, tokens = set_up(case)
    for j in range(2):
        p[f"upper.{j}.attn.ema"] = torch.full((16,), 60.0).double()
        p[f"upper.{j}.attn.w_gate"] = torch.zeros(16, 16).double()
    no_codes = forward(p, tokens, case.model, None)["logits"]
    p2 = {**p, "upper.0.codebook.sum": p["upper.0.codebook.sum"] * 2 + 1}
    same["longvq, W >= L: codes not read"] = largest(no_codes, forward(p2, tokens, case.model, None)["logits"])

    # tensorized: one fold is a window; folds (1, T) and (T, 1) and (T) are full attention
    case = small_case("tensorized", tensor_fold=[7])
    same["tensorized, fold (W+1) = window baseline"] = largest(
        logits(case), logits(small_case("none", sliding_window=6)))
    full = logits(small_case("tensorized", tensor_fold=[36]))
    for fold in ([36, 1], [1, 36], [1, 36, 1], [0], [40], [1, 0]):
        same[f"tensorized, fold {fold} = full"] = largest(full, logits(small_case("tensorized",
                                                                                  tensor_fold=fold)))
    # every past position is reached exactly once: with equal scores and t_1 = 3, t_2 = 4 all 12 last positions
    # get the weight of the steps available on their way
    ones = torch.zeros(1, 24, 1, 2).double()
    eye = torch.eye(24).double().view(1, 24, 1, 24)
    reach = tensorized_attention(ones, ones, eye, [3, 4], torch.zeros(1).double())[0, :, 0]
    assert torch.allclose(reach[23], torch.cat([torch.zeros(12), torch.full((12,), 1 / 12)]).double())
    assert torch.allclose(reach.sum(-1), torch.ones(24).double())

    # recurformer: no recurrent head is full attention with ALiBi
    same["recurformer, no recurrent head = full attention"] = largest(
        logits(small_case("recurformer", recurrent_heads=[])), full)
    # all heads of a layer recurrent: no attention weights are left there
    case = small_case("recurformer", recurrent_heads=[0, 1, 2, 3])
    assert "upper.0.attn.wq" not in weight_shapes(case.model) and "upper.1.attn.wq" in weight_shapes(case.model)
    logits(case)
    ratio = torch.tensor([0.2, 0.9, 0.9, 0.1])
    assert most_recent_heads(ratio, 0.25) == [1] and most_recent_heads(ratio, 0.5) == [1, 2]
    near = recency_ratio(torch.eye(5).double().expand(2, 3, 5, 5), 1)
    assert torch.allclose(near, torch.ones(3).double())
    for name, error in same.items():
        print(f"  {name}: {error:.1e}")
        assert error < 1e-13, name


def self_check():
    print("degenerate cases")
    check_degenerate()
    for kind in ["none"] + list(KINDS):
        check_causality(kind)
        worst = check_gradients(kind)
        error = check_decoding(kind)
        print(f"{kind}: causal bit for bit, gradients within {worst:.0e}, decoding within {error:.0e}")
    for changes in (dict(kind="landmark", chunk_top_k=1, landmark_local_size=4),
                    dict(kind="landmark", landmark_selection="all_heads", chunk_top_k=3),
                    dict(kind="landmark", chunk_top_k=9, landmark_local_size=12),
                    dict(kind="landmark", landmark_positions="none"),
                    dict(kind="rmt", memory_size=0), dict(kind="rmt", segment_size=50),
                    dict(kind="fot", memory_top_k=0), dict(kind="fot", memory_layers=[0, 1], memory_top_k=1),
                    dict(kind="tensorized", tensor_fold=[2, 3, 0]), dict(kind="tensorized", tensor_fold=[5]),
                    dict(kind="recurformer", recurrent_heads=[0, 1, 2, 3, 6])):
        check_decoding(**changes)
    print("self-check passed")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--config")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--out", help="file to write")
    ap.add_argument("--kernels", help="JSON list of mechanism cases")
    ap.add_argument("--out-dir", default=".")
    ap.add_argument("--self-check", action="store_true")
    args = ap.parse_args()
    torch.set_num_threads(1)
    if args.self_check:
        self_check()
    elif args.kernels:
        write_kernels(args.kernels, args.seed, args.out_dir)
    elif args.config and args.out:
        write_case(Case.load(args.config), args.seed, args.out)
    else:
        ap.error("need --self-check, --kernels, or --config with --out")


if __name__ == "__main__":
    main()
