"""The lemmas that certificates cite: they are there, and Coq accepts them where it is installed."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from constructions.machines import stock_certificate

ROOT = Path(__file__).parents[1]


def test_every_lemma_cited_is_stated():
    about = map(inspect.getdoc, (stock_certificate.errors, stock_certificate.norm_fault))
    cited = set(re.findall(r"\[(\w+)\]", " ".join(about)))
    text = (ROOT / "proofs" / "exact.v").read_text()
    stated = set(re.findall(r"^(?:Lemma|Theorem) (\w+)", text, re.MULTILINE))
    assert {"ballast_absorbs", "changes_telescope"} <= cited <= stated
    assert not re.findall(r"\b(?:Admitted|Axiom|admit)\b", text)


@pytest.mark.skipif(shutil.which("coqc") is None, reason="coqc is not installed")
def test_coq_accepts_every_lemma():
    done = subprocess.run([ROOT / "scripts" / "proofs"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "proofs/exact.v: every lemma is accepted" in done.stdout
