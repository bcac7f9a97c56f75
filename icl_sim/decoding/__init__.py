"""Decoding with memories of constant size, the same tokens as attention over the whole past."""

from __future__ import annotations

from icl_sim.decoding.decoder import ENGINES, NATIVE, Decoder, State
from icl_sim.decoding.generation import generate, generate_batch
from icl_sim.decoding.strings import sample_strings, string_law
from icl_sim.decoding.verification import Verification, verify_trace

__all__ = [
    "ENGINES",
    "NATIVE",
    "Decoder",
    "State",
    "Verification",
    "generate",
    "generate_batch",
    "sample_strings",
    "string_law",
    "verify_trace",
]
