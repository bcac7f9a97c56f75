"""The texts that ship with the package, from the packages that they are taken from."""

from __future__ import annotations

import ast
import hashlib
import inspect
import json
import re
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

from icl_sim.data.corpora import RATINGS, RATINGS_SHA256, TOPICS, TOPICS_SHA256
from icl_sim.pretrained.models import download_wheel

DATA = Path(__file__).parent.parent / "icl_sim" / "data"
VADER = (
    "vaderSentiment==3.3.2",
    "3bf1d243b98b1afad575b9f22bc2cb1e212b94ff89ca74f8a23a588d024ea311",
    (),
)
SCIPY = (
    "scipy==1.16.3",
    "72d1717fd3b5e6ec747327ce9bda32d5463f472c9dce9f54499e81fbd50245a1",
    ("--platform", "manylinux2014_x86_64", "--python-version", "3.12"),
)
# Parts of scipy, and what they are about in a word.
FIELDS = {
    "integrate": "integration",
    "interpolate": "interpolation",
    "linalg": "algebra",
    "ndimage": "images",
    "optimize": "optimization",
    "signal": "signals",
    "special": "functions",
    "stats": "statistics",
}
EACH = 120  # sentences of a field, at most


def ratings(wheel):
    """Lines of a word and the ratings -4 to 4 of ten people, as digits 0 to 8."""
    rated = {}
    for line in wheel.read("vaderSentiment/vader_lexicon.txt").decode().splitlines():
        word, _, _, numbers = line.split("\t")
        if re.fullmatch("[a-z]{4,}", word):
            # Of the few words that stand there twice, VADER itself reads the later line.
            rated[word] = "".join(str(n + 4) for n in json.loads(numbers))
    return (f"{word}\t{digits}" for word, digits in rated.items())


def sentences(wheel):
    """Lines of a field and the first sentence of a public function's or class's docstring."""
    found = {field: set() for field in FIELDS.values()}
    for name in wheel.namelist():
        part = re.fullmatch(r"scipy/(\w+)/(?!.*test).*\.py", name)
        if part and part[1] in FIELDS:
            for doc in docstrings(ast.parse(wheel.read(name))):
                sentence = " ".join(doc.split("\n\n")[0].replace("`", "").split())
                if 20 <= len(sentence) <= 100 and re.fullmatch(r"(?!Internal)[ -~]+\.", sentence):
                    found[FIELDS[part[1]]].add(sentence)
    fields = Counter(sentence for group in found.values() for sentence in group)
    for field, group in sorted(found.items()):
        own = [sentence for sentence in group if fields[sentence] == 1]
        # Those of the smallest hashes, which are of no kind.
        own.sort(key=lambda sentence: hashlib.sha256(sentence.encode()).digest())
        yield from (f"{field}\t{sentence}" for sentence in sorted(own[:EACH]))


def docstrings(tree):
    """The docstrings of a module's public functions and classes."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if not node.name.startswith("_") and (doc := ast.get_docstring(node)):
                yield doc
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            # Special functions are compiled: add_newdoc(name, docstring).
            call = node.value
            if getattr(call.func, "id", "") == "add_newdoc" and len(call.args) > 1:
                yield inspect.cleandoc(ast.literal_eval(call.args[1]))


def main():
    """Writes both files, and says whether they are those that were shipped."""
    for name, expected, lines, (package, sha256, options) in (
        (RATINGS, RATINGS_SHA256, ratings, VADER),
        (TOPICS, TOPICS_SHA256, sentences, SCIPY),
    ):
        with tempfile.TemporaryDirectory() as scratch:
            wheel = download_wheel(package, scratch, sha256=sha256, options=options)
            with zipfile.ZipFile(wheel) as archive:
                text = "".join(f"{line}\n" for line in lines(archive)).encode()
        (DATA / name).write_bytes(text)
        found = hashlib.sha256(text).hexdigest()
        same = "as shipped" if found == expected else "not what corpora.py expects"
        print(f"{name}: {len(text)} bytes, SHA-256 {found}, {same}")


if __name__ == "__main__":
    main()
