"""pieces.json: texts as the `tokenizers` library (0.23.3) cuts them by patterns that models use, and by what its engine
Oniguruma means otherwise than PCRE2.

  python3 tests/golden/split_patterns/make_pieces.py
"""
import json
import pathlib

from tokenizers import Regex
from tokenizers.pre_tokenizers import Split

PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
              r"|\s+(?!\S)|\s",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
             r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
             r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "deepseek": r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"""
                r"|\s*[\r\n]+|\s+(?!\S)|\s+",
    "scripts": r"\p{Han}+|\P{Greek}|\p{^Han}",
    "words": r"\w+|[^\w\s]+|\W",
    "borders": r"\b\w+\b|\B.",
    "lines": r"^ *\S+|\S+$|\s|.",
    "counts": r"(?:a|b){1,2}+|\p{N}{2}+|[c-e]{2,}+|[\x41-\x{5A}]",
    "spaces": r"\v+|\s*",
}
TEXTS = ["Hello world", "It's WE'LL  i'd\tdon't", "one\ntwo\r\n\n  three   \n", "1234567 3.14 ½ ² Ⅻ ٣4", "e\u0301t\u00e9 क्षि _x‿y",
         "東京、〆〇ー。Ωmega", "a\u180eb\u00a0c\u3000\u0085d\x0be", "ababa cde 123456", "x\n  y $ ^z", "🙂👍🏽!?\u200d/\r\n", "   "]

pieces = [{"name": name, "pattern": pattern,
           "cases": [{"text": t, "pieces": [p for p, _ in Split(Regex(pattern), "isolated").pre_tokenize_str(t)]}
                     for t in TEXTS]} for name, pattern in PATTERNS.items()]
with open(pathlib.Path(__file__).parent / "pieces.json", "w") as f:
    json.dump(pieces, f, indent=0)
    f.write("\n")
