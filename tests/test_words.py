"""README and docs say of every statement and public name what the code says."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

import constructions
import icl_sim
from icl_sim.claims import CLAIMS, VERDICTS

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
API = (ROOT / "docs" / "api.md").read_text()
PAGE = (ROOT / "docs" / "verdicts.md").read_text()
STATEMENTS = [(claim.id.lower(), s) for claim in CLAIMS.values() for s in claim.statements]


def rows(text, start):
    return [line for line in text.splitlines() if line.startswith(start)]


def test_the_readme_names_what_is_false_and_what_is_true_instead():
    counts = Counter(s.derived for _, s in STATEMENTS)
    words = " ".join(README.split())
    assert f"**{counts['FALSE-AS-STATED']} of {len(STATEMENTS)} are false as written**" in words
    assert f"{counts['HOLDS']} hold, and {counts['HOLDS-LOOSE']} hold with a better bound" in words
    wanted = [
        f"| [{s.id}](docs/{page}.md) | {s.statement} | {s.corrected} |"
        for page, s in STATEMENTS
        if s.derived == "FALSE-AS-STATED"
    ]
    assert rows(README.split("## What it is")[0], "| [C") == wanted
    assert all(s.corrected for _, s in STATEMENTS if s.derived == "FALSE-AS-STATED")


def test_every_statement_and_verdict_word_has_its_row():
    assert rows(PAGE, "| **") == [f"| **{word}** | {text} |" for word, text in VERDICTS.items()]
    assert rows(PAGE, "| [") == [
        f"| [{s.id}]({page}.md) | {s.derived} | {s.statement} | {s.corrected} |"
        for page, s in STATEMENTS
    ]


def test_what_the_readme_links_to_is_there():
    links = re.findall(r"\]\(([\w./-]+)\)", README)
    assert len(links) > 10
    for link in links:
        assert (ROOT / link).exists(), link


@pytest.mark.parametrize("package", [constructions, icl_sim])
def test_every_public_name_has_a_page(package):
    listed = re.findall(rf"^   {package.__name__}\.(\w+)$", API, re.MULTILINE)
    assert listed == [name for name in package.__all__ if name != "__version__"]


def test_every_page_is_in_the_site_s_index():
    index = (ROOT / "docs" / "index.md").read_text().split()
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")} - {"index"}
    assert pages <= set(index)
