#!/usr/bin/env python3
"""Writes completions/ and the OPTIONS sections of man/ from the flags of gca, or checks that they are current.

    help_files.py --gca build/apps/gca [--check]

A man page is written by hand but for what stands between its two marker lines.
"""

import argparse
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BEGIN = r'.\" Written by ./dev help-files:'
END = r'.\" The end of what ./dev help-files writes.'
COMPLETIONS = {"bash": "gca.bash", "zsh": "_gca", "fish": "gca.fish"}


def help_of(gca, *words):
    return subprocess.run([gca, "help", *words], check=True, capture_output=True, text=True).stdout


def with_options(page, path, options):
    """`page` with `options` between its markers."""
    try:
        before, rest = page.split(BEGIN + "\n")
        _, after = rest.split(END + "\n")
    except ValueError:
        sys.exit(f"{path}: needs the lines\n{BEGIN}\n{END}")
    return before + BEGIN + "\n" + options + END + "\n" + after


def wanted_files(gca):
    """(path, text) of every generated file."""
    for shell, name in COMPLETIONS.items():
        yield ROOT / "completions" / name, help_of(gca, "--format", shell)
    for path in sorted((ROOT / "man").glob("*.1")):
        command = path.stem.removeprefix("gca").removeprefix("-")
        options = help_of(gca, *([command] if command else []), "--format", "man")
        yield path, with_options(path.read_text(), path, options)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gca", required=True)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    stale = []
    for path, text in wanted_files(arguments.gca):
        if path.exists() and path.read_text() == text:
            continue
        stale.append(str(path.relative_to(ROOT)))
        if not arguments.check:
            path.with_suffix(".partial").write_text(text)
            path.with_suffix(".partial").rename(path)
    if arguments.check and stale:
        sys.exit("not what the flags say; run ./dev help-files: " + ", ".join(stale))
    print("written:" if stale else "current", ", ".join(stale))


if __name__ == "__main__":
    main()
