"""Writes triton_attention_sm80.ptx, _sm90.ptx: an attention kernel compiled by Triton, a code generator that shares nothing with nvcc.

Needs no GPU:  pip install --target DIR --no-deps triton==3.6.0;  PYTHONPATH=DIR python3 triton_attention.py
"""
import pathlib
import re

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def attend(q, k, v, out, n_keys, scale2, HEAD: tl.constexpr, ROWS: tl.constexpr, KEYS: tl.constexpr):
    """out = softmax(q k^T) v, scale2 in units of log2; q and out (.., HEAD) in tiles of ROWS, k and v (n_keys, HEAD)."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, HEAD)
    keys = tl.arange(0, KEYS)
    q_tile = tl.load(q + rows[:, None] * HEAD + columns[None, :])
    total = tl.zeros([ROWS, HEAD], dtype=tl.float32)
    largest = tl.full([ROWS], float("-inf"), dtype=tl.float32)
    norm = tl.zeros([ROWS], dtype=tl.float32)
    for first in range(0, n_keys, KEYS):
        there = first + keys < n_keys
        place = (first + keys)[:, None] * HEAD + columns[None, :]
        k_tile = tl.load(k + place, mask=there[:, None], other=0.0)
        v_tile = tl.load(v + place, mask=there[:, None], other=0.0)
        s = tl.where(there[None, :], tl.dot(q_tile, tl.trans(k_tile)) * scale2, float("-inf"))
        now = tl.maximum(largest, tl.max(s, 1))
        p = tl.exp2(s - now[:, None])
        fade = tl.exp2(largest - now)
        norm = norm * fade + tl.sum(p, 1)
        total = total * fade[:, None] + tl.dot(p.to(tl.bfloat16), v_tile)
        largest = now
    tl.store(out + rows[:, None] * HEAD + columns[None, :], (total / norm[:, None]).to(tl.bfloat16))


source = ASTSource(
    fn=attend,
    signature={"q": "*bf16", "k": "*bf16", "v": "*bf16", "out": "*bf16", "n_keys": "i32", "scale2": "fp32",
               "HEAD": "constexpr", "ROWS": "constexpr", "KEYS": "constexpr"},
    constexprs={"HEAD": 64, "ROWS": 64, "KEYS": 64},
    attrs={(i,): [["tt.divisibility", 16]] for i in range(4)})
for sm in 80, 90:
    kernel = triton.compile(source, target=GPUTarget("cuda", sm, 32), options={"num_warps": 4, "num_stages": 2})
    text = re.sub(r'"[^"\n]*/([^"/\n]+\.py)"', r'"\1"', kernel.asm["ptx"])  # file names without their folders
    text = text[:text.index("\t.section\t.debug_abbrev")]                   # line tables stay, debuggers' tables go
    pathlib.Path(__file__).with_name(f"triton_attention_sm{sm}.ptx").write_text(
        f"// dynamic shared memory, bytes: {kernel.metadata.shared}\n{text}")
