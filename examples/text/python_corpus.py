#!/usr/bin/env python3
"""python_corpus.py OUT: Python sources of Debian 12 under permissive licences, as OUT/train and OUT/valid.

Downloads the packages (apt-get download, no root needed) into OUT/packages. A document is the .py files of one folder one after the
other, so that what is defined in one file is used in others far below; a folder longer than 400 KB is several. Whole packages are held
out: what is in OUT/valid was written by others than what is in OUT/train.
"""
import os
import random
import subprocess
import sys

# name, folder in the package, licence
TRAIN = [
    ("libpython3.11-stdlib", "usr/lib/python3.11", "PSF-2.0"),
    ("python3-django", "usr/lib/python3/dist-packages/django", "BSD-3-Clause"),
    ("python3-numpy", "usr/lib/python3/dist-packages/numpy", "BSD-3-Clause"),
    ("python3-pandas", "usr/lib/python3/dist-packages/pandas", "BSD-3-Clause"),
    ("python3-scipy", "usr/lib/python3/dist-packages/scipy", "BSD-3-Clause"),
    ("python3-sklearn", "usr/lib/python3/dist-packages/sklearn", "BSD-3-Clause"),
    ("python3-sqlalchemy", "usr/lib/python3/dist-packages/sqlalchemy", "MIT"),
    ("python3-statsmodels", "usr/lib/python3/dist-packages/statsmodels", "BSD-3-Clause"),
    ("python3-sympy", "usr/lib/python3/dist-packages/sympy", "BSD-3-Clause"),
    ("python3-twisted", "usr/lib/python3/dist-packages/twisted", "MIT"),
]
VALID = [
    ("python3-networkx", "usr/lib/python3/dist-packages/networkx", "BSD-3-Clause"),
    ("python3-tornado", "usr/lib/python3/dist-packages/tornado", "Apache-2.0"),
]
DOCUMENT_BYTES = 400_000
SHORTEST_BYTES = 60_000  # a short document has nothing far away
TRAIN_BYTES, VALID_BYTES = 40_000_000, 2_500_000


def unpacked(package, out):
    """The folder that the package is unpacked in."""
    folder = os.path.join(out, "packages", package)
    if os.path.isdir(folder):
        return folder
    os.makedirs(os.path.join(out, "packages"), exist_ok=True)
    subprocess.run(["apt-get", "download", "-q", package], cwd=os.path.join(out, "packages"), check=True)
    archive = next(name for name in os.listdir(os.path.join(out, "packages")) if name.startswith(package + "_"))
    subprocess.run(["dpkg", "-x", os.path.join(out, "packages", archive), folder + ".tmp"], check=True)
    os.rename(folder + ".tmp", folder)
    return folder


def documents(root):
    """Name and text of each document below root, in the order of the folders' names."""
    for folder, subfolders, names in os.walk(root):
        subfolders.sort()
        text = ""
        for name in sorted(names):
            if not name.endswith(".py") or not os.path.exists(os.path.join(folder, name)):  # links may lead to other packages
                continue
            try:
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    source = file.read()
            except UnicodeDecodeError:
                continue
            # Tables of numbers are data, and not code to learn from.
            if 500 <= len(source) <= 200_000 and sum(c.isdigit() for c in source) < 0.2 * len(source):
                text += f"# {name}\n{source}\n"
        for first in range(0, len(text), DOCUMENT_BYTES):
            part = text[first : first + DOCUMENT_BYTES]
            if len(part) >= SHORTEST_BYTES:
                place = os.path.relpath(folder, os.path.dirname(root)).replace("/", "_")
                yield f"{place}_{first // DOCUMENT_BYTES}", part


def write_split(packages, folder, at_most, out):
    found = [one for package, root, _ in packages for one in documents(os.path.join(unpacked(package, out), root))]
    random.Random(1).shuffle(found)
    os.makedirs(folder)
    total = count = 0
    for name, text in found:
        if total > at_most:
            break
        with open(os.path.join(folder, name + ".txt"), "w", encoding="utf-8") as file:
            file.write(text)
        total += len(text)
        count += 1
    print(f"{folder}: {count} documents, {total} characters")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.splitlines()[0])
    out = sys.argv[1]
    write_split(TRAIN, os.path.join(out, "train"), TRAIN_BYTES, out)
    write_split(VALID, os.path.join(out, "valid"), VALID_BYTES, out)


main()
