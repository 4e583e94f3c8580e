"""The GGUF files of this folder, by the Python package gguf 0.19.0 (which llama.cpp's own converters use).

  python3 tests/golden/gguf/make_gguf.py        # needs numpy and gguf

tensors.gguf: one metadata value of every type, and tensors of every type that gca reads; tensors.json holds their
values as that package decodes them, as the hexadecimal digits of float32. Each other NAME.gguf holds the tokenizer
of ../tokenizers/NAME, as a GGUF file has it.
"""
import json
import pathlib

import gguf
import numpy as np

HERE = pathlib.Path(__file__).parent
PRE = {"gpt2": "gpt-2", "smollm": "smollm", "llama3": "llama-bpe", "qwen2": "qwen2"}
TYPES = {"f32": gguf.GGMLQuantizationType.F32, "f16": gguf.GGMLQuantizationType.F16,
         "bf16": gguf.GGMLQuantizationType.BF16, "q8_0": gguf.GGMLQuantizationType.Q8_0,
         "q4_0": gguf.GGMLQuantizationType.Q4_0, "q4_1": gguf.GGMLQuantizationType.Q4_1}


def write(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_tensors():
    w = gguf.GGUFWriter(HERE / "tensors.gguf", "llama")
    w.add_uint8("test.u8", 200)
    w.add_int8("test.i8", -100)
    w.add_uint16("test.u16", 60000)
    w.add_int16("test.i16", -30000)
    w.add_uint32("test.u32", 4000000000)
    w.add_int32("test.i32", -2000000000)
    w.add_float32("test.f32", 0.1)
    w.add_bool("test.bool", True)
    w.add_string("test.text", "h\u00e9llo")
    w.add_array("test.texts", ["a", "", "b c"])
    w.add_array("test.numbers", [3, -1, 4])
    w.add_uint64("test.u64", 2**63 + 1)
    w.add_int64("test.i64", -2**62)
    w.add_float64("test.f64", 0.1)
    rng = np.random.default_rng(3)
    expected = {}
    for name, kind in TYPES.items():
        x = rng.standard_normal((3, 64)).astype(np.float32)
        x[0, 0] = 1e-6                                     # below float16's normal numbers
        data = gguf.quants.quantize(x, kind)
        w.add_tensor(name, data, raw_dtype=kind)
        values = gguf.quants.dequantize(data, kind).astype(np.float32)
        expected[name] = [f"{v:08x}" for v in values.reshape(-1).view(np.uint32)]
    w.add_tensor("vector", np.arange(5, dtype=np.float32))
    expected["vector"] = [f"{v:08x}" for v in np.arange(5, dtype=np.float32).view(np.uint32)]
    write(w)
    with open(HERE / "tensors.json", "w") as f:
        json.dump(expected, f, indent=0)
        f.write("\n")


def write_tokenizer(name):
    with open(HERE.parent / "tokenizers" / name / "tokenizer.json", encoding="utf-8") as f:
        file = json.load(f)
    tokens = {i: t for t, i in file["model"]["vocab"].items()}
    tokens |= {t["id"]: t["content"] for t in file["added_tokens"]}
    special = {t["id"] for t in file["added_tokens"] if t["special"]}
    ids = range(len(tokens))
    w = gguf.GGUFWriter(HERE / f"{name}.gguf", "llama")
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre(PRE[name])
    w.add_token_list([tokens[i] for i in ids])
    w.add_token_types([gguf.TokenType.CONTROL if i in special else gguf.TokenType.NORMAL for i in ids])
    w.add_token_merges([" ".join(m) for m in file["model"]["merges"]])
    w.add_bos_token_id(file["model"]["vocab"].get("<|begin_of_text|>", 400))
    w.add_eos_token_id(401)
    if name != "llama3":
        w.add_add_bos_token(False)
    write(w)


if __name__ == "__main__":
    write_tensors()
    for tokenizer in PRE:
        write_tokenizer(tokenizer)
