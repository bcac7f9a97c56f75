"""The audit page: surprises, looseness, and a figure for each table that has one."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from test_report import RESULTS, STATEMENT_JSON, typed_judgement

from icl_sim import claims
from icl_sim.report.audit import PICTURES, looseness
from icl_sim.report.pages import render_audit


def audit_of(**changed):
    """The audit of one statement, changed."""
    return replace(RESULTS.audit, statements=(typed_judgement(STATEMENT_JSON | changed),))


def test_a_verdict_that_the_theory_does_not_derive_is_pointed_out():
    surprise = audit_of(verdict="FALSE-AS-STATED")
    words = "Not the verdict that the theory derives: C1.token."
    assert words in render_audit(surprise)
    assert words not in render_audit(RESULTS.audit)


def test_looseness_is_the_median_and_range_of_ratios_to_the_exact_size():
    row = {"exact": 10, "abstract": 50, "mcdiarmid": 20, "weissman": 15}
    others = [row | {"exact": 5}, row | {"exact": 20}]
    found = looseness(audit_of(figures={"exact": [row, *others], "other": [row]}).statements)
    abstract = next(line for line in found if line["formula"] == "abstract")
    assert abstract == {
        "formula": "abstract",
        "cells": 3,
        "median": 5.0,
        "least": 2.5,
        "greatest": 10.0,
    }


def scaling_row(varied, **changed):
    point = {"vocab": 32, "contexts": 1, "eps": "0.15", "delta": 0.1}
    sizes = {"abstract": 50, "mcdiarmid": 20, "weissman": 15, "exact": 10, "lower": 2}
    return {"varied": varied} | point | changed | sizes


FIGURES = {
    "scaling": [
        scaling_row(name, **{name: value})
        for name, values in {
            "eps": ("0.2", "0.1"),
            "vocab": (8, 32),
            "contexts": (1, 10),
            "delta": (0.1, 0.01),
        }.items()
        for value in values
    ],
    "hash-bit": [
        {"vocab": V, "C": C, "length": n, "failure": n / 9, "bayes_failure": None if n > 2 else 1.0}
        for V in (2, 4)
        for C in (1, 2, 4, 8)
        for n in (1, 2, 3)
    ],
    "vocabulary": [
        {"vocab": V, "C": C, "length": 1, "failure": C / V}
        for V in (64, 1024)
        for C in (1, 2, 4, 8)
    ],
    "retrieval": [
        {"answer": "lookup", "K": K, "retrieved": 1 / K, "random": 2 / K} for K in (4, 16)
    ],
    "partial": [
        {"answer": "base", "pool": 60, "n": n, "mean": 1 / n, "exact": 1 / n, "bound": 2 / n}
        for n in (4, 16)
    ],
    "curves": [
        {"learner": "svm", "dim": 5, "n": n, "mean": 1 / n, "bound": 5 / n} for n in (10, 100)
    ],
    "real": [{"data": "iris", "n": n, "svm": 1 / n, "bound": 5 / n} for n in (10, 20)],
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_table_of_that_name_is_drawn_beside_its_statement(name):
    text = render_audit(audit_of(figures={name: FIGURES[name]}))
    assert text.count("<figure") == 1
    assert text.count("<svg") == PICTURES[name][3]  # an element a panel
    assert f"table {name}" in text


def test_every_picture_is_of_a_table_that_an_experiment_makes():
    sources = "\n".join(path.read_text() for path in Path(claims.__file__).parent.glob("*.py"))
    made = set(re.findall(r'"([\w-]+)":', sources))
    assert made >= PICTURES.keys() == FIGURES.keys() | {"sizes"}
    for name in PICTURES:  # a table of another statement with that name would be drawn as this one
        assert sources.count(f'"{name}": ') == 1, name
