"""The universal transformer as a predictor: training program, data and queries in its prompt."""

from __future__ import annotations

from functools import lru_cache

import jax
import numpy as np

from constructions.programs.counting_machine import counting
from constructions.programs.program import TrainingProgram
from constructions.vocabulary import trace_of
from icl_sim.data.tasks import Demonstrations
from icl_sim.emulation.turing import emulate


def universal(data: Demonstrations, key: jax.Array) -> np.ndarray:
    """The output seen most often in each context, one-hot, by a Turing machine run by weights.

    One frozen transformer reads the counting program, the demonstrations and every context from
    its prompt, and decodes until the machine halts. Some ten thousand tokens for a small table.
    """
    del key
    m, V = data.counts.shape
    program = _program(m, V)
    inputs, labels = np.asarray(data.contexts), np.asarray(data.outputs)
    found = emulate(program.machine, program.encode(inputs, labels, program.domain))
    if not (found.halted and found.agrees):
        raise FloatingPointError("universal: the decoded run is not the machine's")
    ended = trace_of(program.machine, vars(found))
    law: np.ndarray = np.eye(V, dtype=np.float32)[program.decode(ended)]
    return law


@lru_cache(maxsize=16)
def _program(m: int, V: int) -> TrainingProgram:
    return counting(contexts=m, outputs=V)
