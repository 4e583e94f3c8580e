"""Models of gca, exported, and the transformers library: both read the same folder and give the same logits.

Each folder of tests/golden/llama is imported by gca and exported again; the library opens what came out (no weight missing, none left
over) and runs it in float32. Its logits become expected.safetensors of that folder, which gca_golden_check then holds gca to. 48 tokens are
more than the original lengths of the rotary types that have one; at 120 the library's float32 angles are themselves 1e-5 to 3e-5 off float64.

  python check_transformers.py GCA GCA_GOLDEN_CHECK
  python check_transformers.py GCA GCA_GOLDEN_CHECK --folder DIR --text FILE [--tokens 300] [--dtype bf16]

With --folder a Hugging Face checkpoint is taken as it lies instead, on the first tokens of a text.
"""
import argparse
import glob
import os
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

LLAMA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../llama")


def write_expected(folder: str, tokens_of):
    """The library's logits beside the weights that they were computed with; tokens_of(vocab_size) -> (B, T)"""
    model, info = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
    wrong = {key: value for key, value in info.items() if value}
    if wrong:
        sys.exit(f"{folder}: the library says {wrong}")
    tokens = tokens_of(model.config.vocab_size)
    with torch.no_grad():
        logits = model.eval()(tokens).logits
    save_file({"input/tokens": tokens.to(torch.int32), "logits": logits.contiguous()}, f"{folder}/expected.safetensors",
              metadata={"source": "float32 run of the library"})


def exported(gca: str, folder: str, work: str):
    """The folder of another program, by way of a checkpoint of gca"""
    name = os.path.basename(folder.rstrip("/"))
    for words in (["import", folder, "--output", f"{work}/ours-{name}"],
                  ["export", f"{work}/ours-{name}", "--output", f"{work}/{name}"]):
        subprocess.run([gca, *words, "--quiet"], check=True)
    return f"{work}/{name}"


def linked(folder: str, work: str):
    for name in os.listdir(folder):
        if name != "expected.safetensors":
            os.symlink(os.path.abspath(f"{folder}/{name}"), f"{work}/{name}")
    return work


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("gca")
    parser.add_argument("golden_check")
    parser.add_argument("--folder", help="a checkpoint, taken as it lies")
    parser.add_argument("--text", help="of which it reads the beginning")
    parser.add_argument("--tokens", type=int, default=48, help="to read")
    parser.add_argument("--dtype", default="fp32", help="that gca computes in: fp32 or bf16")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        if options.folder:
            with open(options.text, encoding="utf-8") as file:
                text = file.read(20 * options.tokens)
            ids = Tokenizer.from_file(f"{options.folder}/tokenizer.json").encode(text).ids[:options.tokens]
            folders = [linked(options.folder, work)]
            write_expected(folders[0], lambda vocab_size: torch.tensor([ids]))
        else:
            folders = [exported(options.gca, folder, work) for folder in sorted(glob.glob(f"{LLAMA}/*/"))]
            for seed, folder in enumerate(folders):
                generator = torch.Generator().manual_seed(seed)
                write_expected(folder, lambda vocab_size: torch.randint(vocab_size, (2, options.tokens), generator=generator))
        return subprocess.run([options.golden_check, "--dtype", options.dtype, *folders]).returncode


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
