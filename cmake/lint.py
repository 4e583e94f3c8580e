#!/usr/bin/env python3
"""clang-tidy on our sources, two at a time, skipping what has not changed since it was last found clean.

Files that include LibTorch take clang-tidy up to half a minute each, nearly all of it for the headers: without --all only those named in
ALWAYS are checked, with it GROUP_SIZE of them are checked as one translation unit, and one by one where that has findings, since two files
may use one name within themselves.
"""

import argparse
import collections
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
LIBTORCH = ("ATen/", "torch/", "c10/")
GROUP_SIZE = 10
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


def tidy(source, flags):
    """What clang-tidy finds in one translation unit; empty when it is clean."""
    result = subprocess.run(["clang-tidy", "--quiet", source, "--", *flags], cwd=ROOT, capture_output=True, text=True)
    return "" if result.returncode == 0 else result.stdout or result.stderr


def check(group, folder):
    """The findings of each file of `group` that has any. Clean files are stamped."""
    if len(group) > 1:
        source = folder / (group[0][2].name + ".cpp")
        source.write_text("".join(f'#include "{name}"\n' for name, _, _ in group))
        if not tidy(source, group[0][1]):
            for _, _, stamp in group:
                stamp.touch()
            return []
    findings = []
    for name, flags, stamp in group:
        found = tidy(name, flags)
        if found:
            findings.append(found)
        else:
            stamp.touch()
    return findings


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
    parser.add_argument("--all", action="store_true", help="also every file that includes LibTorch")
    args = parser.parse_args()
    clean = args.build / "lint"
    clean.mkdir(exist_ok=True)

    alone, together, left_out, cached = [], collections.defaultdict(list), 0, 0
    for entry in json.loads((args.build / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["file"])
        if not path.is_relative_to(ROOT) or path.is_relative_to(args.build.resolve()):
            continue
        name = str(path.relative_to(ROOT))
        reached = set()
        reaches_libtorch = closure(path, reached)
        if reaches_libtorch and not args.all and name not in ALWAYS:
            left_out += 1
            continue
        flags = tidy_flags(entry)
        stamp = clean / fingerprint(reached, [name, *flags])
        if stamp.exists():
            cached += 1
        elif reaches_libtorch and args.all:
            together[tuple(flags)].append((name, flags, stamp))
        else:
            alone.append((name, flags, stamp))
    groups = [[job] for job in alone]
    for jobs in together.values():
        groups += [jobs[first:first + GROUP_SIZE] for first in range(0, len(jobs), GROUP_SIZE)]

    failed = 0
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for findings in pool.map(lambda group: check(group, pathlib.Path(folder)), groups):
            failed += len(findings)
            for text in findings:
                print(text, flush=True)
    checked = sum(len(group) for group in groups)
    note = f", {left_out} files with LibTorch left to ./dev lint --all" if left_out else ""
    print(f"clang-tidy: {checked} files checked, {failed} with findings, {cached} unchanged{note}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
