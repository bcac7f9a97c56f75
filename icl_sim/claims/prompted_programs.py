"""C0.universal: programs, data and queries as a prompt, and one that the model must interpret.

The encoder serialises: no cell of a tape depends on more than one example or query. All else, the
training and the answer, happens in decoding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from constructions.construction import Construction, machine_io
from constructions.programs import majority_machine, universal_machine
from constructions.programs.program import TrainingProgram
from constructions.programs.turing import Trace, TuringMachine
from constructions.vocabulary import trace_of
from icl_sim.claims.claim import Run
from icl_sim.claims.stock_software import wrong_answers
from icl_sim.decoding import Decoder
from icl_sim.errors import InputError
from icl_sim.transformer import load

BLOCK = 1 << 17  # tokens between two looks
MOST = 32  # examples of the program that is interpreted, which has 4 MOST + 2 states

Data = tuple[np.ndarray, np.ndarray]


class Reader:
    """One transformer and its decoder; every machine and all data come as prompts."""

    def __init__(self, construction: Construction, limit: int) -> None:
        self.construction, self.limit, self.io = construction, limit, machine_io(construction)
        self.decoder = Decoder(*load(construction), engine="specialised", stop=self.io.stop)

    def run(self, machine: TuringMachine, tape: str) -> tuple[Trace | None, bool, int]:
        """The halted machine, whether the tokens are the interpreter's, and how many they are.

        The machine is what the decoded tokens tell, None if they do not come to an end.
        """
        construction = self.construction
        prompt = construction.encode({"machine": machine, "tape": tape})
        state = self.decoder.start(prompt)
        tokens = [prompt]
        try:
            while not bool(state.done) and sum(map(len, tokens)) - len(prompt) < self.limit:
                state, more = self.decoder.advance(state, min(self.limit, BLOCK))
                tokens.append(more)
        except InputError:  # an address out of range: the machine went astray
            return None, False, 0
        written = np.concatenate(tokens[1:])
        interpreted = self.io.transcribe(machine.run(tape, self.limit))
        same = bool(np.array_equal(written, interpreted))
        if not bool(state.done):
            return None, same, len(written)
        answer = construction.decode(np.concatenate(tokens))
        return trace_of(machine, answer), same, len(written)


def trained_row(
    run: Run, reader: Reader, program: Callable[..., TrainingProgram], task: Sequence[Any]
) -> dict[str, Any]:
    """A row: one program on random data sets, all queries at once and one of them alone."""
    options, n, data_sets = task
    built = program(**options)

    def compute(i: int) -> dict[str, int]:
        rng = run.stream("trained", built.name, i)
        inputs, labels = built.sample(rng, n)
        one = int(rng.integers(len(built.domain)))
        other = built.sample(rng, n)
        found = {"wrong": 0, "queries": 0, "differing": 0, "tokens": 0}
        found["mixed"] = mixed_cells(built, (inputs, labels), other)
        for queries in (built.domain, built.domain[one : one + 1]):
            expected = built.oracle(inputs, labels, queries)
            ended, same, tokens = reader.run(built.machine, built.encode(inputs, labels, queries))
            found["wrong"] += wrong_answers(built, ended, expected)
            found["queries"] += len(queries)
            found["differing"] += not same
            found["tokens"] = max(found["tokens"], tokens)
        return found

    rows = []
    for i in range(data_sets):
        key = f"C0.universal/{built.name}/{n}/{i}"
        rows.append(run.store.result(key, partial(compute, i)))
        run.progress(f"C0.universal {built.name}", i + 1, data_sets)
    return {
        "program": built.name,
        "options": ", ".join(f"{name} = {value}" for name, value in options.items()),
        "examples": n,
        "data_sets": data_sets,
        "queries": sum(row["queries"] for row in rows),
        "wrong_answers": sum(row["wrong"] for row in rows),
        "differing_sets": sum(row["wrong"] > 0 for row in rows),
        "differing_traces": sum(row["differing"] for row in rows),
        "mixed_cells": sum(row["mixed"] for row in rows),
        "states": len(built.machine.working),
        "most_tokens": max(row["tokens"] for row in rows),
    }


def mixed_cells(program: TrainingProgram, data: Data, other: Data) -> int:
    """Cells of the tape that depend on two examples, or on an example and the query: none should.

    Of each two items, one or both are taken from other data: where both are, each cell must be as
    with that one of them alone which changes it.
    """
    n = len(data[0])
    query, another = program.domain[:1], program.domain[-1:]

    def tape(changed: tuple[int, ...]) -> np.ndarray:
        mine = np.isin(np.arange(n), changed)
        inputs, labels = (
            np.where(mine.reshape(-1, *(1,) * (one.ndim - 1)), two, one)
            for one, two in zip(data, other, strict=True)
        )
        return np.array(list(program.encode(inputs, labels, another if n in changed else query)))

    plain, single = tape(()), [tape((i,)) for i in range(n + 1)]
    mixed = 0
    for i, j in combinations(range(n + 1), 2):
        both = tape((i, j))
        if {len(both), len(single[i]), len(single[j])} != {len(plain)}:
            return len(plain)
        moved = [single[k] != plain for k in (i, j)]
        mixed += int((moved[0] & moved[1]).sum())
        mixed += int((both != np.where(moved[0], single[i], single[j])).sum())
    return mixed


def interpreted_row(
    run: Run,
    reader: Reader,
    data_sets: int,
    examples: int,
    *,
    interpreter: Callable[[], TuringMachine] = universal_machine.universal_machine,
) -> dict[str, Any]:
    """A row: a program with more states than the model takes, by a universal machine in its prompt.

    Args:
      run, reader: as above.
      data_sets, examples: how many, and of how many labels each.
      interpreter: the machine that stands in the prompt.
    """
    machine = majority_machine.majority_machine(MOST)

    def compute(i: int) -> dict[str, int]:
        labels = run.stream("interpreted", i).integers(0, 2, examples)
        tape = universal_machine.encode(machine, majority_machine.encode(labels))
        ended, same, tokens = reader.run(interpreter(), tape)
        answer = -1
        if ended is not None:
            with suppress(IndexError, ValueError):  # not a tape that it writes
                halted = universal_machine.decode(ended, machine)
                answer = majority_machine.decode((*halted.left[::-1], *halted.right), examples)
        wrong = answer != majority_machine.majority(labels)
        return {"wrong": int(wrong), "differing": int(not same), "tokens": tokens}

    rows = []
    for i in range(data_sets):
        rows.append(run.store.result(f"C0.universal/interpreted/{i}", partial(compute, i)))
        run.progress("C0.universal interpreted", i + 1, data_sets)
    return {
        "program": machine.name,
        "states": len(machine.working),
        "interpreter_states": len(interpreter().working),
        "examples": examples,
        "data_sets": data_sets,
        "queries": data_sets,
        "wrong_answers": sum(row["wrong"] for row in rows),
        "differing_sets": sum(row["wrong"] for row in rows),
        "differing_traces": sum(row["differing"] for row in rows),
        "most_tokens": max(row["tokens"] for row in rows),
    }
