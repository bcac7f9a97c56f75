"""The pages' templates, ready to be filled; what is filled in is escaped."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jinja2
from markupsafe import Markup, escape

from icl_sim.report.formulas import formula


def template(name: str) -> jinja2.Template:
    """The template of this file name; a name that it uses and is not given is an error."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("icl_sim.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters["number"] = number
    environment.filters["linked"] = linked
    environment.filters["columns"] = columns
    environment.filters["formula"] = formula
    return environment.get_template(name)


def number(value: Any) -> str:
    """A table cell: integers with separators, floats with four significant digits.

    >>> number(1234567), number(0.123456), number(True), number(None)
    ('1,234,567', '0.1235', 'yes', '')
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)


def linked(text: str) -> Markup:
    """A text whose arXiv numbers and web addresses are links.

    >>> linked("Bai (arXiv:2306.04637) <x>")
    Markup('Bai (<a href="https://arxiv.org/abs/2306.04637">arXiv:2306.04637</a>) &lt;x&gt;')
    """
    found = re.sub(
        r"arXiv:(\d{4}\.\d{4,5})",
        r'<a href="https://arxiv.org/abs/\1">arXiv:\1</a>',
        str(escape(text)),
    )
    return Markup(found)  # noqa: S704 - escaped before the links were put in


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The columns of a table, records keep none: names, what was given, what was found, verdict.

    >>> columns([{"eps": 0.1, "high": 2, "low": 1, "mean": 1, "verdict": "yes", "law": "uniform"}])
    ['law', 'eps', 'mean', 'low', 'high', 'verdict']
    """

    def place(name: str) -> int:
        if name in LAST:
            return len(GIVEN) + 2 + LAST.index(name)
        if name in GIVEN:
            return 1 + GIVEN.index(name)
        return 0 if isinstance(rows[0][name], str) else len(GIVEN) + 1

    return sorted(rows[0], key=place)


# What an experiment is given, in the order in which it is spoken of; the rest it finds.
GIVEN = (
    *("alphabet", "contexts", "vocab", "length", "l", "dim", "classifiers", "atoms", "coins"),
    *("margin", "radius", "bias", "light_mass", "random_labels", "rare", "shift", "tau"),
    *("pool", "withheld", "store", "window", "matching", "demonstrations", "prompts", "options"),
    *("eps", "delta", "C", "K", "examples", "data_sets", "queries", "n", "N", "bound", "allowed"),
)
LAST = ("low", "high", "max", "trials", "verdict")
