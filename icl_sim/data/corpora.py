"""The texts and counts that tasks and pretraining stand on: in packages, hashed, never fetched.

English is the 242,342 word bigrams that the symspellpy package ships (MIT license; the dictionary
goes back to the Google Books n-grams). The running text is an extract of Python's documentation
that ships with this package (icl_sim/data/NOTICE), since the original differs between versions. So
do VADER's rated words and sentences about SciPy's functions, as scripts/text-sets makes them.
"""

from __future__ import annotations

import hashlib
import string
from functools import lru_cache
from importlib.resources import files
from importlib.util import find_spec, module_from_spec

import numpy as np

from icl_sim.errors import InputError

BIGRAMS = "frequency_bigramdictionary_en_243_342.txt"
BIGRAMS_SHA256 = "fd892a160184101dd7ae807ac5a302d01fcea1c47304181a8ed7ed9c94545bcd"
TEXT = "python-topics.txt"
TEXT_SHA256 = "03864f23f7e49036202ee980da1eaf2046fce4dfded11c9c8fe9b32b7bee6867"
RATINGS = "vader.tsv"
RATINGS_SHA256 = "1ec9c0cc3279bf2cf8a8a592b8c0ec089bace10694f5a2f76a0cc552e8fefa0b"
TOPICS = "topics.tsv"
TOPICS_SHA256 = "bb9508847132da758b227495b467f2f99b1702f81d6299ff7e01c55d0a0ff0cb"


@lru_cache(maxsize=1)
def english_bigrams() -> dict[str, dict[str, int]]:
    """Left word -> right word -> count, left words by falling total.

    Raises:
      InputError: the package is missing, or its file is not the one that was counted on.
    """
    package = find_spec("symspellpy")
    if package is None:
        raise InputError("english: expected the package symspellpy: pip install symspellpy")
    # A module that is made but not executed: the data are wanted, not the package's code.
    data = files(module_from_spec(package)).joinpath(BIGRAMS).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != BIGRAMS_SHA256:
        raise InputError(
            f"english: expected {BIGRAMS} with SHA-256 {BIGRAMS_SHA256[:12]}..., got "
            f"{found[:12]}...: install the locked symspellpy"
        )
    table: dict[str, dict[str, int]] = {}
    for line in data.decode("utf-8-sig").splitlines():
        left, right, count = line.split()
        table.setdefault(left, {})[right] = int(count)
    totals = {left: sum(row.values()) for left, row in table.items()}
    return {left: table[left] for left in sorted(table, key=lambda word: (-totals[word], word))}


@lru_cache(maxsize=1)
def letters() -> str:
    """The text in lower case, every run of other characters than a to z one space.

    Raises:
      InputError: the file is not the one that was shipped.

    >>> letters()[:20], len(letters())
    ('the assert statement', 60090)
    """
    raw = shipped(TEXT, sha256=TEXT_SHA256)
    kept = (c if c in string.ascii_lowercase else " " for c in raw.lower())
    return " ".join("".join(kept).split())


def shipped(name: str, *, sha256: str) -> str:
    """A text file that ships with this package.

    Raises:
      InputError: it is not the one that was shipped.
    """
    raw = files("icl_sim").joinpath("data", name).read_bytes()
    found = hashlib.sha256(raw).hexdigest()
    if found != sha256:
        raise InputError(
            f"{name}: expected SHA-256 {sha256[:12]}..., got {found[:12]}...: install again"
        )
    return raw.decode()


@lru_cache(maxsize=1)
def letter_pairs() -> tuple[str, np.ndarray]:
    """The letters of the text, and int64 [letters, letters] how often each follows each."""
    text = letters()
    alphabet = "".join(sorted(set(text)))
    place = {letter: i for i, letter in enumerate(alphabet)}
    codes = np.array([place[letter] for letter in text])
    counts = np.zeros((len(alphabet), len(alphabet)), np.int64)
    np.add.at(counts, (codes[:-1], codes[1:]), 1)
    return alphabet, counts
