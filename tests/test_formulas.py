"""Formulas of the pages: MathML where the text has one, and the text's own words elsewhere."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from icl_sim.claims import CLAIMS
from icl_sim.report.formulas import formula

# What is set, written with a bracket around each formula: ^{base exponent}, _{base index}, r{root}.
SET = {
    "within l V 2^-(b+1) of it": "within [l V ^{2 −(b+1)}] of it",
    "P(KL = infinity) >= (1 - q)^n": "[P(KL=∞)] [≥^{(1−q) n}]",
    "sqrt(V-1)/2 of M_ft, n* and err*": "[r{V−1}/2] of [_{M ft}], [^{n *}] and [^{err *}]",
    "2 sum_(k<d) C(n-1, k), L2 = 3": "[2 _{Σ k<d} C(n−1,k)], [_{L 2}] [=3]",
    "C in {1, 2}, (R/g)^2 atoms": "[C∈{1,2}], [^{(R/g) 2}] atoms",
    "w_i^2 <= mean|g|, 1e-3 and .5 V": "[_^{w i 2}] [≤mean|g|], 1e-3 and [.5 V]",
    # No formulas: words, names of statements, listings, hyphens, code.
    "at most a third, C1.token (a) k-th e.g. x's": "at most a third, C1.token (a) k-th e.g. x's",
    "a sum <= the mean; layer_0.w_v `n_c`s": "a sum ≤ the mean; layer_0.w_v `n_c`s",
    "recall r a prompt": "recall [r] a prompt",
    "A bound. A is ln A kinds, a = I(k)": "A bound. A is [ln A] kinds, [a] [=I(k)]",
}


def _shown(text: str) -> str:
    def one(element: ElementTree.Element) -> str:
        inside = [one(child) for child in element]
        match element.tag:
            case "math":
                return f"[{''.join(inside)}]" + (element.tail or "")
            case "msup" | "msub" | "msubsup":
                mark = {"msup": "^", "msub": "_", "msubsup": "_^"}[element.tag]
                return f"{mark}{{{' '.join(inside)}}}"
            case "msqrt":
                return f"r{{{''.join(inside)}}}"
            case "wbr":
                return element.tail or ""
            case "mspace":
                return " "
            case _:
                return (element.text or "") + "".join(inside)

    page = ElementTree.fromstring(f"<p>{formula(text)}</p>")  # noqa: S314 - of our own making
    return (page.text or "") + "".join(one(child) for child in page)


@pytest.mark.parametrize("text", SET)
def test_what_is_a_formula_is_set_as_one_and_nothing_else(text):
    assert _shown(text) == SET[text]


def test_texts_of_the_audit_keep_every_word():
    for statement in (s for claim in CLAIMS.values() for s in claim.statements):
        for text in (statement.statement, statement.formula, statement.corrected, statement.lower):
            words = re.findall(
                r"[a-z]{3,}", re.sub(r"\b(eps|delta|tau|rho|chi|kappa|sqrt|sum_)", "", text)
            )
            assert re.findall(r"[a-z]{3,}", _shown(text)) == [w for w in words if w != "infinity"]


@pytest.mark.parametrize(
    "text", ["|x" * 60, "(" * 400 + "x" + ")" * 400, "sqrt(" * 300, "x^(" * 300]
)
def test_hostile_texts_are_read_in_a_moment(text):
    assert formula(text)


def test_what_stands_in_a_formula_is_escaped():
    assert "<b>" not in formula('x_<b> ^<script>alert(1)</script> 1 < 2 & a^"b"')
    assert "<script" not in formula("x_(<script>) n^(</math><script>)")
