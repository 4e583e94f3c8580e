"""Reference model for Grouped Cross-Attention, written for clarity, not for speed.

Everything is plain PyTorch with autograd and runs in float64. Weights live in one flat
dictionary {name: tensor}. Gumbel noise is an input, so a run is a pure function of its inputs.

Shapes use the symbols of docs/model.md:
  B batch, C chunks, S positions per chunk (S-1 text tokens, then one landmark), L = C*S,
  T = C*(S-1), d hidden, H heads, Hk = key/value heads of GCA, dh = d/H, W window,
  K retrieved chunks, G groups, V vocabulary.

Command line (../README.md has the details; regenerate.py makes every golden file):
  python oracle.py --config configs/tiny-g1.json --seed 4 --out case.safetensors [--split]
  python oracle.py --kernels configs/kernels.json --seed 1 --out-dir golden
  python oracle.py --self-check
"""
import argparse
import json
import math
import os
from dataclasses import dataclass, field, fields
from typing import Dict, List, Optional

import torch
import torch.nn.functional as F

Tensor = torch.Tensor
Weights = Dict[str, Tensor]
NO_CHUNK = -1


# ------------------------------------------------------------------ configuration
@dataclass
class Config:
    name: str = "unnamed"
    B: int = 2
    C: int = 6
    S: int = 8
    d: int = 32
    H: int = 4
    H_kv: int = 4               # key/value heads of GCA; self-attention always has H
    d_ff: int = 64
    W: int = 12                 # a position sees itself and the W positions before it
    K: int = 2
    vocab: int = 48             # text ids and the landmark id
    lmk_id: int = 47
    n_lower: int = 2
    n_upper: List[int] = field(default_factory=lambda: [2])   # layers per group; G = len
    n_enc: int = 1
    softmax_one: bool = True
    reset_residual: bool = False
    norm_eps: float = 1e-5      # decoder norms, GCA norms, query norms, encoder input norm
    enc_norm_eps: float = 1e-6  # norms inside the chunk encoder and its final norm
    rope_theta: float = 10000.0
    init_std: float = 0.02
    norm_jitter: float = 0.0    # norm weights are 1 + norm_jitter * normal

    @property
    def G(self): return len(self.n_upper)

    @property
    def dh(self): return self.d // self.H

    @property
    def T(self): return self.C * (self.S - 1)

    @property
    def L(self): return self.C * self.S

    @staticmethod
    def load(path: str) -> "Config":
        with open(path) as f:
            raw = json.load(f)
        unknown = set(raw) - {x.name for x in fields(Config)}
        if unknown:
            raise SystemExit(f"{path}: unknown keys {sorted(unknown)}")
        cfg = Config(**raw)
        assert cfg.d % cfg.H == 0 and cfg.H % cfg.H_kv == 0 and cfg.dh % 2 == 0
        assert 0 <= cfg.lmk_id < cfg.vocab
        return cfg


def weight_shapes(cfg: Config) -> Dict[str, tuple]:
    """Every weight name with its shape. Matrices are (out, in): y = x @ W^T."""
    d, ff, kv = cfg.d, cfg.d_ff, cfg.H_kv * cfg.dh
    out = {"tok_emb": (cfg.vocab, d)}

    def layer(prefix, with_gca):
        out[f"{prefix}.attn_norm"] = (d,)
        for m in ("wq", "wk", "wv", "wo"):
            out[f"{prefix}.attn.{m}"] = (d, d)
        if with_gca:
            out[f"{prefix}.gca_norm"] = (d,)
            out[f"{prefix}.gca.wq"] = (d, d)
            out[f"{prefix}.gca.wo"] = (d, d)
        out[f"{prefix}.mlp_norm"] = (d,)
        out[f"{prefix}.mlp.w_gate"] = (ff, d)
        out[f"{prefix}.mlp.w_up"] = (ff, d)
        out[f"{prefix}.mlp.w_down"] = (d, ff)

    for i in range(cfg.n_lower):
        layer(f"lower.{i}", False)
    out["enc.in_norm"] = (d,)
    for i in range(cfg.n_enc):
        layer(f"enc.{i}", False)
    out["enc.out_norm"] = (d,)
    out["mem.wk"] = (kv, d)
    out["mem.wv"] = (kv, d)
    for g in range(cfg.G):
        out[f"group.{g}.query_norm"] = (d,)
    for j in range(sum(cfg.n_upper)):
        layer(f"upper.{j}", True)
    out["out_norm"] = (d,)
    return out


def init_weights(cfg: Config, seed: int) -> Weights:
    """Float32-representable weights held in float64, drawn in the order of weight_shapes."""
    gen = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in weight_shapes(cfg).items():
        x = torch.randn(shape, generator=gen, dtype=torch.float64)
        x = 1 + cfg.norm_jitter * x if name.endswith("_norm") else cfg.init_std * x
        weights[name] = x.float().double()
    return weights


def sample_gumbel(shape, gen: torch.Generator) -> Tensor:
    u = torch.rand(shape, generator=gen, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
    return (-(-u.log()).log()).float().double()


# ------------------------------------------------------------------ building blocks
def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x (..., d), weight (d) -> (..., d):  weight * x / sqrt(mean(x^2) + eps)"""
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def alibi_slopes(H: int) -> Tensor:
    """-> (H): 2^(-8 (i+1) / H)"""
    return torch.tensor([2.0 ** (-8.0 * (i + 1) / H) for i in range(H)], dtype=torch.float64)


def window_attention(q: Tensor, k: Tensor, v: Tensor, W: int, slopes: Tensor):
    """Causal sliding-window attention with ALiBi.
    q, k, v (B, L, H, dh), slopes (H) -> out (B, L, H, dh), lse (B, H, L)"""
    L, dh = q.shape[1], q.shape[-1]
    s = torch.einsum("bihe,bjhe->bhij", q, k) / math.sqrt(dh)
    pos = torch.arange(L)
    dist = pos[:, None] - pos[None, :]                       # query minus key
    s = s - slopes.to(s)[:, None, None] * dist.to(s)
    s = s.masked_fill((dist < 0) | (dist > W), float("-inf"))
    out = torch.einsum("bhij,bjhe->bihe", s.softmax(-1), v)
    return out, torch.logsumexp(s, -1)


def rotary(x: Tensor, theta: float) -> Tensor:
    """x (N, S, H, dh) -> same. Pairs are (e, e + dh/2): the two halves of a head."""
    S, half = x.shape[1], x.shape[-1] // 2
    freq = theta ** (-torch.arange(half, dtype=torch.float64) / half)
    angle = torch.arange(S, dtype=torch.float64)[:, None] * freq      # (S, dh/2)
    cos, sin = angle.cos().to(x)[:, None, :], angle.sin().to(x)[:, None, :]
    a, b = x[..., :half], x[..., half:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def gca(q: Tensor, k: Tensor, v: Tensor, idx: Tensor, w: Tensor, softmax_one: bool):
    """Grouped cross-attention: one softmax per retrieved chunk, mixed by w.
    q    (B, C, S, H, dh)    queries of the positions of each reading chunk
    k, v (B, C, S-1, Hk, dh) chunk memory
    idx  (B, C, K)           chunks read by chunk u; NO_CHUNK where there is none
    w    (B, C, K)           their weights, 0 where there is none
    -> out (B, C, S, H, dh)"""
    B, C, S, H, dh = q.shape
    Hk = k.shape[3]
    q = q.reshape(B, C, S, Hk, H // Hk, dh)
    batch = torch.arange(B)[:, None]
    out = torch.zeros_like(q)
    for slot in range(idx.shape[-1]):
        which = idx[..., slot]
        present = (which != NO_CHUNK).to(q)
        kk = k[batch, which.clamp(min=0)]                    # (B, C, S-1, Hk, dh)
        vv = v[batch, which.clamp(min=0)]
        s = torch.einsum("bushge,bujhe->buhgsj", q, kk) / math.sqrt(dh)
        if softmax_one:                                      # one more key with score zero
            s = torch.cat([s, torch.zeros_like(s[..., :1])], -1)
            p = s.softmax(-1)[..., :-1]
        else:
            p = s.softmax(-1)
        o = torch.einsum("buhgsj,bujhe->bushge", p, vv)
        out = out + (w[..., slot] * present)[:, :, None, None, None, None] * o
    return out.reshape(B, C, S, H, dh)


def swiglu(x: Tensor, p: Weights, prefix: str) -> Tensor:
    """x (..., d) -> (..., d)"""
    gate = F.linear(x, p[f"{prefix}.w_gate"])
    up = F.linear(x, p[f"{prefix}.w_up"])
    return F.linear(F.silu(gate) * up, p[f"{prefix}.w_down"])


# ------------------------------------------------------------------ layers
def self_attention(x: Tensor, p: Weights, prefix: str, cfg: Config) -> Tensor:
    """x (B, L, d), already normalised -> (B, L, d)"""
    B, L, d = x.shape
    q, k, v = (F.linear(x, p[f"{prefix}.{m}"]).view(B, L, cfg.H, cfg.dh)
               for m in ("wq", "wk", "wv"))
    out, _ = window_attention(q, k, v, cfg.W, alibi_slopes(cfg.H))
    return F.linear(out.reshape(B, L, d), p[f"{prefix}.wo"])


def lower_layer(h: Tensor, p: Weights, prefix: str, cfg: Config) -> Tensor:
    """h (B, L, d) -> (B, L, d)"""
    a = h + self_attention(rms_norm(h, p[f"{prefix}.attn_norm"], cfg.norm_eps),
                           p, f"{prefix}.attn", cfg)
    return a + swiglu(rms_norm(a, p[f"{prefix}.mlp_norm"], cfg.norm_eps), p, f"{prefix}.mlp")


def encode_chunks(h_low: Tensor, p: Weights, cfg: Config) -> Tensor:
    """h_low (B, L, d) -> E (B, C, S, d). Each chunk alone, bidirectional, rotary 0..S-1."""
    B, L, d = h_low.shape
    S, eps = cfg.S, cfg.enc_norm_eps
    x = rms_norm(h_low, p["enc.in_norm"], cfg.norm_eps).reshape(-1, S, d)
    N = x.shape[0]
    for i in range(cfg.n_enc):
        n = rms_norm(x, p[f"enc.{i}.attn_norm"], eps)
        q, k, v = (F.linear(n, p[f"enc.{i}.attn.{m}"]).view(N, S, cfg.H, cfg.dh)
                   for m in ("wq", "wk", "wv"))
        q, k = rotary(q, cfg.rope_theta), rotary(k, cfg.rope_theta)
        s = torch.einsum("nihe,njhe->nhij", q, k) / math.sqrt(cfg.dh)
        o = torch.einsum("nhij,njhe->nihe", s.softmax(-1), v).reshape(N, S, d)
        x = x + F.linear(o, p[f"enc.{i}.attn.wo"])
        x = x + swiglu(rms_norm(x, p[f"enc.{i}.mlp_norm"], eps), p, f"enc.{i}.mlp")
    return rms_norm(x, p["enc.out_norm"], eps).view(B, L // S, S, d)


def retrieve(h_lmk: Tensor, landmark: Tensor, norm_weight: Tensor, gumbel: Optional[Tensor],
             K: int, eps: float):
    """One retrieval per chunk, for one group.
    h_lmk (B, C, d)  hidden states at the landmark positions
    landmark (B, C, d), gumbel (B, C, C) or None
    -> r (B, C, C) with -inf where c >= t, idx (B, C, K), w (B, C, K)
    Row t of idx holds the choice made at the end of chunk t (it serves chunk t+1), best noisy
    score first, lower chunk number first on a tie, NO_CHUNK where fewer than K exist."""
    B, C, d = landmark.shape
    q = rms_norm(h_lmk, norm_weight, eps)
    r = torch.einsum("btd,bcd->btc", q, landmark) / math.sqrt(d)
    past = torch.arange(C)[:, None] > torch.arange(C)[None, :]
    r = r.masked_fill(~past, float("-inf"))
    with torch.no_grad():
        noisy = r if gumbel is None else r + gumbel.to(r)
        order = torch.sort(noisy, dim=-1, descending=True, stable=True).indices[..., :K]
        if order.shape[-1] < K:
            order = F.pad(order, (0, K - order.shape[-1]), value=C - 1)
        available = torch.arange(K)[None, :] < torch.arange(C)[:, None]     # slot k < t
        idx = torch.where(available, order, NO_CHUNK)
    chosen = r.gather(-1, idx.clamp(min=0))
    chosen = torch.where(available, chosen, float("-inf"))
    chosen = torch.where(available.any(-1, keepdim=True), chosen, 0.0)   # row 0: no NaN
    w = chosen.softmax(-1) * available
    return r, idx, w


def shift_to_reader(x: Tensor, fill) -> Tensor:
    """(B, C, ...) indexed by the retrieving chunk t -> indexed by the reading chunk t+1."""
    return torch.cat([torch.full_like(x[:, :1], fill), x[:, :-1]], 1)


def upper_layer(h: Tensor, p: Weights, prefix: str, cfg: Config, k: Tensor, v: Tensor,
                idx: Tensor, w: Tensor):
    """h (B, L, d); k, v (B, C, S-1, Hk, dh); idx, w (B, C, K) by retrieving chunk
    -> h' (B, L, d), a (B, L, d), o (B, L, d)"""
    B, L, d = h.shape
    a = h + self_attention(rms_norm(h, p[f"{prefix}.attn_norm"], cfg.norm_eps),
                           p, f"{prefix}.attn", cfg)
    q = F.linear(rms_norm(a, p[f"{prefix}.gca_norm"], cfg.norm_eps), p[f"{prefix}.gca.wq"])
    q = q.view(B, cfg.C, cfg.S, cfg.H, cfg.dh)
    o = gca(q, k, v, shift_to_reader(idx, NO_CHUNK), shift_to_reader(w, 0.0), cfg.softmax_one)
    o = F.linear(o.reshape(B, L, d), p[f"{prefix}.gca.wo"])
    m = rms_norm(a + o, p[f"{prefix}.mlp_norm"], cfg.norm_eps)
    residual = a + o if cfg.reset_residual else a
    return residual + swiglu(m, p, f"{prefix}.mlp"), a, o


# ------------------------------------------------------------------ the whole model
def add_landmarks(tokens: Tensor, cfg: Config, fill: int) -> Tensor:
    """(B, T) -> (B, L): one `fill` after every S-1 entries"""
    B = tokens.shape[0]
    x = tokens.view(B, cfg.C, cfg.S - 1)
    return torch.cat([x, torch.full_like(x[..., :1], fill)], -1).reshape(B, cfg.L)


def forward(p: Weights, tokens: Tensor, gumbel: Optional[Tensor], cfg: Config) -> Dict[str, Tensor]:
    """tokens (B, T) text ids, gumbel (G, B, C, C) or None (evaluation) -> named results.
    logits (B, L, V); token_loss (B, T-1): loss of text token j+1 given the text up to j."""
    B = tokens.shape[0]
    act = {}
    h = F.embedding(add_landmarks(tokens, cfg, cfg.lmk_id), p["tok_emb"])
    for i in range(cfg.n_lower):
        h = lower_layer(h, p, f"lower.{i}", cfg)
        act[f"lower.{i}"] = h
    act["h_low"] = h

    E = encode_chunks(h, p, cfg)
    act["enc_out"] = E
    act["landmark"] = landmark = E[:, :, -1]
    text = E[:, :, :-1]
    shape = (B, cfg.C, cfg.S - 1, cfg.H_kv, cfg.dh)
    act["chunk_k"] = k = F.linear(text, p["mem.wk"]).view(shape)
    act["chunk_v"] = v = F.linear(text, p["mem.wv"]).view(shape)

    j = 0
    for g in range(cfg.G):
        h_lmk = h.view(B, cfg.C, cfg.S, cfg.d)[:, :, -1]
        r, idx, w = retrieve(h_lmk, landmark, p[f"group.{g}.query_norm"],
                             None if gumbel is None else gumbel[g], cfg.K, cfg.norm_eps)
        act[f"r.{g}"], act[f"idx.{g}"], act[f"w.{g}"] = r, idx, w
        for _ in range(cfg.n_upper[g]):
            h, a, o = upper_layer(h, p, f"upper.{j}", cfg, k, v, idx, w)
            act[f"upper.{j}.a"], act[f"upper.{j}.o"], act[f"upper.{j}"] = a, o, h
            j += 1
        act[f"h_group.{g}"] = h

    act["logits"] = F.linear(rms_norm(h, p["out_norm"], cfg.norm_eps), p["tok_emb"])
    text_logits = act["logits"].view(B, cfg.C, cfg.S, -1)[:, :, :-1].reshape(B, cfg.T, -1)
    lse = torch.logsumexp(text_logits[:, :-1], -1)
    picked = text_logits[:, :-1].gather(-1, tokens[:, 1:, None])[..., 0]
    act["token_loss"] = lse - picked                        # (B, T-1)
    act["loss"] = act["token_loss"].mean()
    return act


def smallest_gap(act: Dict[str, Tensor], gumbel: Optional[Tensor], cfg: Config) -> float:
    """Distance between the last score chosen and the best score refused, over all retrievals.
    Small values mean that rounding can change the choice."""
    gap = float("inf")
    for g in range(cfg.G):
        noisy = act[f"r.{g}"].detach()
        if gumbel is not None:
            noisy = noisy + gumbel[g].to(noisy)
        s = noisy.sort(-1, descending=True).values
        if cfg.K < cfg.C:
            x = (s[..., cfg.K - 1] - s[..., cfg.K])
            x = x[torch.isfinite(x)]
            if x.numel():
                gap = min(gap, x.min().item())
    return gap


# ------------------------------------------------------------------ golden files
def run_case(cfg: Config, seed: int, dtype=torch.float64):
    """-> weights, tokens, gumbel, training results, gradients of weights, gradients of results,
    evaluation results"""
    gen = torch.Generator().manual_seed(1_000_003 * seed + 17)
    tokens = torch.randint(0, cfg.vocab, (cfg.B, cfg.T), generator=gen)
    tokens = torch.where(tokens == cfg.lmk_id, (tokens + 1) % cfg.vocab, tokens)
    gumbel = sample_gumbel((cfg.G, cfg.B, cfg.C, cfg.C), gen)
    p = {n: x.to(dtype).requires_grad_() for n, x in init_weights(cfg, seed).items()}
    act = forward(p, tokens, gumbel.to(dtype), cfg)
    watched = {n: x for n, x in act.items() if x.requires_grad and n != "loss"}
    for x in watched.values():
        x.retain_grad()
    act["loss"].backward()
    grads = {n: x.grad for n, x in p.items()}
    act_grads = {n: x.grad for n, x in watched.items() if x.grad is not None}
    with torch.no_grad():
        ev = forward(p, tokens, None, cfg)
    return p, tokens, gumbel, act, grads, act_grads, ev


def _f32(x: Tensor) -> Tensor:
    return x.detach().to(torch.float32).contiguous().clone()


def _write(path: str, tensors: Dict[str, Tensor], meta: Dict[str, str]):
    """A safetensors file with sorted names, so that equal content gives equal bytes."""
    types = {torch.float32: "F32", torch.int32: "I32"}
    header, blobs, at = {"__metadata__": dict(sorted(meta.items()))}, [], 0
    for name in sorted(tensors):
        x = tensors[name].contiguous()
        blobs.append(x.numpy().astype(x.numpy().dtype.newbyteorder("<")).tobytes())
        header[name] = {"dtype": types[x.dtype], "shape": list(x.shape),
                        "data_offsets": [at, at + len(blobs[-1])]}
        at += len(blobs[-1])
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "wb") as f:
        f.write(len(head).to_bytes(8, "little") + head + b"".join(blobs))
    print(f"{path}: {len(tensors)} tensors, {os.path.getsize(path) / 1e6:.2f} MB")


def write_case(cfg: Config, seed: int, out: str, split: bool):
    p, tokens, gumbel, act, grads, act_grads, ev = run_case(cfg, seed)
    gap, gap_eval = smallest_gap(act, gumbel, cfg), smallest_gap(ev, None, cfg)
    meta = {"config": json.dumps({f.name: getattr(cfg, f.name) for f in fields(Config)}),
            "seed": str(seed), "topk_gap_train": f"{gap:.6g}", "topk_gap_eval": f"{gap_eval:.6g}",
            "source": "float64 run, stored as float32"}
    base = {"input/tokens": tokens.to(torch.int32), "input/gumbel": _f32(gumbel)}
    base.update({f"weight/{n}": _f32(x) for n, x in p.items()})
    acts, gr = {}, {f"grad/{n}": _f32(x) for n, x in grads.items()}

    def result(prefix, n, x):
        if x.dtype == torch.int64:
            acts[f"{prefix}/{n}"] = x.to(torch.int32)
        else:
            x = x.detach()
            acts[f"{prefix}/{n}"] = _f32(torch.where(torch.isinf(x), torch.zeros_like(x), x))

    # the last layer of the lower decoder and of each group is stored as h_low and h_group.g
    doubles = {f"lower.{cfg.n_lower - 1}"}
    doubles |= {f"upper.{sum(cfg.n_upper[:g + 1]) - 1}" for g in range(cfg.G)}
    for n, x in act.items():
        if n not in doubles:
            result("act", n, x)
    for n in ["logits", "token_loss", "loss"] + [f"{a}.{g}" for g in range(cfg.G)
                                                 for a in ("r", "idx", "w")]:
        result("eval", n, ev[n])
    keep = {"h_low", "landmark", "chunk_k", "chunk_v", "enc_out"} \
        | {f"{a}.{g}" for g in range(cfg.G) for a in ("r", "w")} \
        | {f"h_group.{g}" for g in range(cfg.G - 1)}
    for n, x in act_grads.items():
        if n in keep:
            gr[f"act_grad/{n}"] = _f32(torch.nan_to_num(x))
    print(f"{cfg.name} seed {seed}: loss {act['loss'].item():.9f} eval {ev['loss'].item():.9f} "
          f"gap {gap:.4g} / {gap_eval:.4g}")
    if split:
        stem = out[:-len(".safetensors")] if out.endswith(".safetensors") else out
        _write(stem + ".safetensors", base, meta)
        _write(stem + ".act.safetensors", acts, meta)
        _write(stem + ".grad.safetensors", gr, meta)
    else:
        _write(out, {**base, **acts, **gr}, meta)


def random_lists(B: int, C: int, K: int, kind: str, gen: torch.Generator) -> Tensor:
    """-> (B, C, K) chunk lists by reading chunk u: distinct chunks c < u - 1, NO_CHUNK last.
    kind "hot" puts chunk 0 into most of the lists, so one chunk has many readers."""
    idx = torch.full((B, C, K), NO_CHUNK)
    for b in range(B):
        for u in range(2, C):
            n = min(K, u - 1)
            pick = torch.randperm(u - 1, generator=gen)[:n]
            if kind == "hot" and 0 not in pick and u % 5 != 4:
                pick[torch.randint(0, n, (1,), generator=gen)] = 0
            idx[b, u, :n] = pick
    return idx


def write_kernel_cases(path: str, seed: int, out_dir: str):
    """Golden files of the two kernels alone, forward and backward; shapes from a JSON file."""
    gen = torch.Generator().manual_seed(7919 * seed + 5)

    def rnd(*shape):
        return torch.randn(shape, generator=gen, dtype=torch.float64).float().double()

    with open(path) as f:
        cases = json.load(f)
    for c in cases["gca"]:
        B, C, S, H, Hk, dh, K, one = (c[n] for n in ("B", "C", "S", "H", "H_kv", "dh", "K",
                                                     "softmax_one"))
        q, do = rnd(B, C, S, H, dh), rnd(B, C, S, H, dh)
        k, v = rnd(B, C, S - 1, Hk, dh), rnd(B, C, S - 1, Hk, dh)
        if c.get("scores") == "large":         # scores up to several hundred
            q, k = q * 12, k * 12
        if c.get("scores") == "negative":      # scores around -10: the added 1 dominates
            q, k = q.abs() * 2 + 2, -(k.abs() * 0.5 + 0.5)
            q, k = q.float().double(), k.float().double()
        idx = random_lists(B, C, K, c.get("lists", "uniform"), gen)
        present = idx != NO_CHUNK
        w = (torch.rand((B, C, K), generator=gen, dtype=torch.float64) + 0.1) * present
        w = (w / w.sum(-1, keepdim=True).clamp(min=1e-30)).float().double()
        leaves = [x.clone().requires_grad_() for x in (q, k, v, w)]
        out = gca(leaves[0], leaves[1], leaves[2], idx, leaves[3], one)
        out.backward(do)
        dq, dk, dv, dw = (x.grad for x in leaves)
        readers = torch.stack([(idx == c0).sum((1, 2)) for c0 in range(C)], 1)      # (B, C)
        t = {n: _f32(x) for n, x in dict(q=q, k=k, v=v, w=w, dout=do, out=out, dq=dq, dk=dk,
                                         dv=dv, dw=dw * present).items()}
        t["idx"], t["readers"] = idx.to(torch.int32), readers.to(torch.int32)
        meta = {"kind": "gca", "softmax_one": str(int(one)), "scale": repr(1 / math.sqrt(dh)),
                "seed": str(seed)}
        _write(os.path.join(out_dir, f"gca-{c['name']}.safetensors"), t, meta)

    for c in cases["window_attention"]:
        B, L, H, dh, W = (c[n] for n in ("B", "L", "H", "dh", "W"))
        q, k, v, do = (rnd(B, L, H, dh) for _ in range(4))
        leaves = [x.clone().requires_grad_() for x in (q, k, v)]
        slopes = alibi_slopes(H)
        out, lse = window_attention(*leaves, W, slopes)
        out.backward(do)
        dq, dk, dv = (x.grad for x in leaves)
        t = {n: _f32(x) for n, x in dict(q=q, k=k, v=v, dout=do, out=out, lse=lse, slopes=slopes,
                                         dq=dq, dk=dk, dv=dv).items()}
        meta = {"kind": "window-attention", "window": str(W), "scale": repr(1 / math.sqrt(dh)),
                "seed": str(seed)}
        _write(os.path.join(out_dir, f"swa-{c['name']}.safetensors"), t, meta)


# ------------------------------------------------------------------ self-check
def self_check():
    cfg = Config(init_std=0.15, norm_jitter=0.1, n_upper=[1, 1], H_kv=2, C=7, K=2)
    p, tokens, gumbel, act, *_ = run_case(cfg, 3)
    # 1. causality: changing a text token must not move logits before it
    for j in (0, 3, 6, 7, 20, cfg.T - 1):
        other = tokens.clone()
        other[:, j] = (other[:, j] + 1) % (cfg.vocab - 1)
        new = forward(p, other, gumbel, cfg)["logits"]
        at = j // (cfg.S - 1) * cfg.S + j % (cfg.S - 1)
        same = (new - act["logits"])[:, :at].abs().max().item() if at else 0.0
        moved = (new - act["logits"])[:, at:].abs().max().item()
        assert same == 0.0 and moved > 0, (j, same, moved)
    # 2. the first two chunks read nothing, the third does
    o = act["upper.0.o"].view(cfg.B, cfg.C, cfg.S, cfg.d)
    assert o[:, :2].abs().max() == 0 and o[:, 2].abs().min(-1).values.min() > 0
    # 3. softmax-off-by-one equals plain softmax with one more zero key and zero value
    gen = torch.Generator().manual_seed(0)
    q = torch.randn(1, 3, 4, 2, 8, generator=gen, dtype=torch.float64)
    k, v = (torch.randn(1, 3, 3, 2, 8, generator=gen, dtype=torch.float64) for _ in range(2))
    idx, w = torch.tensor([[[-1], [0], [1]]]), torch.tensor([[[0.0], [1.0], [0.5]]]).double()
    z = torch.zeros(1, 3, 1, 2, 8).double()
    one = gca(q, k, v, idx, w, True)
    zero_row = gca(q, torch.cat([k, z], 2), torch.cat([v, z], 2), idx, w, False)
    assert torch.allclose(one, zero_row, atol=1e-14)
    # 4. the closed-form gradients of kernels/grouped_cross_attention/grouped_cross_attention.h
    q, k, v, w = (x.clone().requires_grad_() for x in (q, k, v, w))
    out = gca(q, k, v, idx, w, True)
    do = torch.randn(out.shape, generator=gen, dtype=torch.float64)
    out.backward(do)
    with torch.no_grad():
        dk, dv, dq, dw = (torch.zeros_like(x) for x in (k, v, q, w))
        for u, c in ((1, 0), (2, 1)):
            s = torch.einsum("she,jhe->hsj", q[0, u], k[0, c]) / math.sqrt(8)
            pr = s.exp() / (1 + s.exp().sum(-1, keepdim=True))
            ok = torch.einsum("hsj,jhe->hse", pr, v[0, c])
            g = do[0, u].transpose(0, 1)
            delta = (g * ok).sum(-1, keepdim=True)
            dw[0, u, 0] = delta.sum()
            dv[0, c] += w[0, u, 0] * torch.einsum("hsj,hse->jhe", pr, g)
            ds = w[0, u, 0] * pr * (torch.einsum("hse,jhe->hsj", g, v[0, c]) - delta) / math.sqrt(8)
            dq[0, u] += torch.einsum("hsj,jhe->she", ds, k[0, c])
            dk[0, c] += torch.einsum("hsj,she->jhe", ds, q[0, u])
    for a, b in ((dk, k), (dv, v), (dq, q), (dw, w)):
        assert torch.allclose(a, b.grad, atol=1e-13)
    print("self-check passed")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--config")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("--out", help="file to write")
    ap.add_argument("--split", action="store_true", help="weights, results, gradients in 3 files")
    ap.add_argument("--kernels", help="JSON list of kernel cases; writes the kernel-level files")
    ap.add_argument("--out-dir", default=".")
    ap.add_argument("--self-check", action="store_true")
    args = ap.parse_args()
    torch.set_num_threads(1)
    if args.self_check:
        self_check()
    elif args.kernels:
        write_kernel_cases(args.kernels, args.seed, args.out_dir)
    elif args.config and args.out:
        write_case(Config.load(args.config), args.seed, args.out, args.split)
    else:
        ap.error("need --self-check, --kernels, or --config with --out")


if __name__ == "__main__":
    main()
