"""RASP in Python, compiled to weights with a certificate.

>>> same = Select(tokens, tokens, Comparison.EQ)
>>> SelectorWidth(same)("abac")
[2, 1, 2, 1]
"""

from __future__ import annotations

from constructions.rasp.compiler import compile_program
from constructions.rasp.expressions import (
    Aggregate,
    Full,
    Indices,
    LinearSequenceMap,
    Map,
    Select,
    Selector,
    SelectorWidth,
    SequenceMap,
    SOp,
    Tokens,
    categorical,
    numerical,
)
from constructions.rasp.stock_program import compile_stock
from constructions.rasp.values import Comparison

tokens = Tokens()
indices = Indices()
length = SelectorWidth(Select(tokens, tokens, Comparison.TRUE)).named("length")

__all__ = [
    "Aggregate",
    "Comparison",
    "Full",
    "LinearSequenceMap",
    "Map",
    "SOp",
    "Select",
    "Selector",
    "SelectorWidth",
    "SequenceMap",
    "categorical",
    "compile_program",
    "compile_stock",
    "indices",
    "length",
    "numerical",
    "tokens",
]
