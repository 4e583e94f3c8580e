#!/usr/bin/env python3
"""clang-tidy on our sources, two at a time, skipping what has not changed since it was last found clean.

Files that include LibTorch take clang-tidy half a minute each: without --all only those named in ALWAYS are checked.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
LIBTORCH = ("ATen/", "torch/", "c10/")
ALWAYS = ("lib/model/language_model.cpp", "kernels/grouped_cross_attention/grouped_cross_attention_op.cpp")


def closure(path, seen):
    """Adds `path` and every header of ours that it reaches to `seen`; True when it reaches LibTorch."""
    if path in seen:
        return False
    seen.add(path)
    reaches = False
    for bracket, name in INCLUDE.findall(path.read_text()):
        if name.startswith(LIBTORCH):
            reaches = True
        elif bracket == '"' and (ROOT / name).exists():
            reaches = closure(ROOT / name, seen) or reaches
    return reaches


def fingerprint(paths, command):
    digest = hashlib.sha256(" ".join(command).encode())
    for path in [ROOT / ".clang-tidy", *sorted(paths)]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def tidy_flags(entry):
    """The flags of an entry of compile_commands.json that clang-tidy needs: definitions, include folders, standard."""
    words = shlex.split(entry["command"])
    flags = []
    for word, following in zip(words, words[1:]):
        if word == "-isystem":
            flags += [word, following]
        elif word.startswith(("-D", "-I", "-std=", "-fopenmp", "-m")):
            flags.append(word)
    return flags


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--all", action="store_true", help="also every file that includes LibTorch")
    args = parser.parse_args()
    clean = args.build / "lint"
    clean.mkdir(exist_ok=True)

    jobs, left_out, cached = [], 0, 0
    for entry in json.loads((args.build / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["file"])
        if not path.is_relative_to(ROOT) or path.is_relative_to(args.build.resolve()):
            continue
        name = str(path.relative_to(ROOT))
        reached = set()
        if closure(path, reached) and not args.all and name not in ALWAYS:
            left_out += 1
            continue
        flags = tidy_flags(entry)
        stamp = clean / fingerprint(reached, [name, *flags])
        if stamp.exists():
            cached += 1
        else:
            jobs.append((name, flags, stamp))

    def check(job):
        name, flags, stamp = job
        result = subprocess.run(["clang-tidy", "--quiet", name, "--", *flags],
                                cwd=ROOT, capture_output=True, text=True)
        if result.returncode == 0:
            stamp.touch()
        return name, result

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, result in pool.map(check, jobs):
            if result.returncode != 0:
                failed += 1
                print(result.stdout or result.stderr, flush=True)
    note = f", {left_out} files with LibTorch left to ./dev lint --all" if left_out else ""
    print(f"clang-tidy: {len(jobs)} files checked, {failed} with findings, {cached} unchanged{note}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
