"""Machines and tapes that several test files share, and the plainest interpreter."""

from __future__ import annotations

import numpy as np

from constructions.programs.turing import TuringMachine

BB5 = "1RB1LC_1RC1RB_1RD0LE_1LA1LD_1RZ0LA"
BEAVERS = {
    "BB(2)": "1RB1LB_1LA1RZ",
    "BB(3)": "1RB1RZ_1LB0RC_1LC1LA",
    "BB(4)": "1RB1LB_1LA0LC_1RZ1LD_1RD0RA",
}


def random_machine(
    rng: np.random.Generator, states: int, symbols: int, *, undefined: float = 0.1
) -> TuringMachine:
    """A machine whose rules are drawn uniformly; about one in ten pairs has none.

    Every move (left, stay, right) is as likely, so some machines go left of cell 0 and some loop.
    One machine in two has a halting state beyond its `states` working ones.
    """
    working = [f"q{i}" for i in range(states)]
    names = working + ["halt"] * int(rng.integers(2))
    alphabet = [str(i) for i in range(symbols)]
    delta = {}
    for state in working:
        for symbol in alphabet:
            if rng.random() >= undefined:
                delta[state, symbol] = (
                    names[rng.integers(len(names))],
                    alphabet[rng.integers(symbols)],
                    int(rng.integers(-1, 2)),
                )
    return TuringMachine("random", tuple(names), tuple(alphabet), "0", "q0", delta)


def random_case(
    rng: np.random.Generator, *, states: int = 8, symbols: int = 4, cells: int = 12
) -> tuple[TuringMachine, list[str]]:
    """A random machine of at most these sizes, and a random tape for it."""
    machine = random_machine(
        rng, int(rng.integers(1, states + 1)), int(rng.integers(2, symbols + 1))
    )
    tape = rng.choice(machine.alphabet, size=rng.integers(cells + 1)).tolist()
    return machine, tape


def plain_run(machine: TuringMachine, tape, max_steps: int) -> dict:
    """One dictionary look-up per step, as the definition reads."""
    cells = dict(enumerate(tape))
    state, head, visited, records = machine.start, 0, {0}, []
    while (rule := machine.delta.get((state, cells.get(head, machine.blank)))) is not None:
        if len(records) == max_steps:
            break
        after, written, move = rule
        records.append((state, cells.get(head, machine.blank), after, written, move, head))
        cells[head] = written
        state, head = after, head + move
        visited.add(head)
    span = range(min(visited), max(visited) + 1)
    return {
        "steps": len(records),
        "halted": (state, cells.get(head, machine.blank)) not in machine.delta,
        "state": state,
        "head": head,
        "tape_start": min(visited),
        "tape": [cells.get(cell, machine.blank) for cell in span],
        "records": records,
    }


def records_of(trace) -> list[tuple[str, str, str, str, int, int]]:
    """The recorded steps by name: state, symbol read, next state, symbol written, move, cell."""
    states, alphabet = trace.machine.states, trace.machine.alphabet
    return [
        (states[q], alphabet[a], states[after], alphabet[w], move, cell)
        for q, a, after, w, move, cell in zip(
            trace.state_read.tolist(),
            trace.symbol_read.tolist(),
            trace.state_next.tolist(),
            trace.symbol_written.tolist(),
            trace.move.tolist(),
            trace.position.tolist(),
            strict=True,
        )
    ]
