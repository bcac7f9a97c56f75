"""The lemmas that certificates cite: they are there, and Coq accepts them where it is installed."""

from __future__ import annotations

import inspect
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from constructions.learners import stock_descent
from constructions.machines import (
    pairs_certificate,
    single_certificate,
    stock_certificate,
    tape_certificate,
)

ROOT = Path(__file__).parents[1]


def test_every_lemma_cited_is_stated():
    proofs = (
        *(stock_certificate.errors, tape_certificate.norm_fault, pairs_certificate.errors),
        *(pairs_certificate.previous_lead, single_certificate.leads, stock_descent.bound),
    )
    about = map(inspect.getdoc, proofs)
    cited = set(re.findall(r"\[(\w+)\]", " ".join(about)))
    text = (ROOT / "proofs" / "exact.v").read_text()
    stated = set(re.findall(r"^(?:Lemma|Theorem) (\w+)", text, re.MULTILINE))
    assert {"ballast_absorbs", "changes_telescope", "silu_tail", "losing_share"} <= cited <= stated
    assert not re.findall(r"\b(?:Admitted|Axiom|admit)\b", text)


@pytest.mark.skipif(shutil.which("coqc") is None, reason="coqc is not installed")
def test_coq_accepts_every_lemma():
    done = subprocess.run([ROOT / "scripts" / "proofs"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "proofs/exact.v: every lemma is accepted" in done.stdout
