"""Transformer weights written by hand, with proofs and certificates. NumPy only.

>>> construction = CONSTRUCTIONS["lookup"](contexts=2)
>>> prompt = construction.encode({"pairs": [(0, 1), (0, 1), (0, 2)], "query": 0})
>>> outputs = forward(construction.spec, construction.params, prompt)
>>> construction.decode(outputs).round(6).tolist()
[0.0, 0.666667, 0.333333, 0.0]
"""

from __future__ import annotations

from constructions.blueprint import Blueprint
from constructions.catalog import CONSTRUCTIONS, register_construction
from constructions.certificate import Certificate
from constructions.composition import one_after_another, side_by_side, unroll
from constructions.construction import Construction, assemble
from constructions.programs.named import PROGRAMS
from constructions.programs.program import Program, TrainingProgram
from constructions.programs.subleq import SUBLEQ, SubleqProgram
from constructions.programs.turing import Trace, TuringMachine
from constructions.rasp.compiler import compile_program
from constructions.reference import forward
from constructions.residual import Residual
from constructions.spec import Layer, TransformerSpec, blank, param_shapes

__all__ = [
    "CONSTRUCTIONS",
    "PROGRAMS",
    "SUBLEQ",
    "Blueprint",
    "Certificate",
    "Construction",
    "Layer",
    "Program",
    "Residual",
    "SubleqProgram",
    "Trace",
    "TrainingProgram",
    "TransformerSpec",
    "TuringMachine",
    "assemble",
    "blank",
    "compile_program",
    "forward",
    "one_after_another",
    "param_shapes",
    "register_construction",
    "side_by_side",
    "unroll",
]
