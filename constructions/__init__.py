"""Transformer weights written by hand, with proofs and certificates. NumPy only.

>>> construction = CONSTRUCTIONS["lookup"](contexts=2)
>>> prompt = construction.encode({"pairs": [(0, 1), (0, 1), (0, 2)], "query": 0})
>>> outputs = forward(construction.spec, construction.params, prompt)
>>> construction.decode(outputs).round(6).tolist()
[0.0, 0.666667, 0.333333, 0.0]
"""

from __future__ import annotations

from constructions.catalog import CONSTRUCTIONS
from constructions.construction import Construction
from constructions.programs.turing import Trace, TuringMachine
from constructions.reference import forward
from constructions.residual import Residual
from constructions.spec import Layer, TransformerSpec, blank, param_shapes

__all__ = [
    "CONSTRUCTIONS",
    "Construction",
    "Layer",
    "Residual",
    "Trace",
    "TransformerSpec",
    "TuringMachine",
    "blank",
    "forward",
    "param_shapes",
]
