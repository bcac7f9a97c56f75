"""The tokens in which a transformer writes down the run of a Turing machine, one token a step.

Letters: K working states, S symbols. State code K is any state without rules. A prompt reads
START, the rule table in order of p = q S + a (universal machines only), the tape, GO; each step
then is one token, and END says that no rule applies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from constructions.fields import namespace, sequence
from constructions.programs.turing import Trace, TuringMachine

START, GO, END = 0, 1, 2
_FIRST_TAPE = 3


@dataclass(frozen=True)
class Vocabulary:
    """Tokens of all machines of at most this size.

    Args:
      states: K, the most working states (states with rules; the start is always one).
      symbols: S, the most symbols, at least 2.

    >>> vocabulary = Vocabulary(states=8, symbols=2)
    >>> vocabulary.size
    168
    """

    states: int
    symbols: int

    def __post_init__(self) -> None:
        if self.states < 1 or not 2 <= self.symbols <= 256:
            raise ValueError(
                "machine size: expected at least 1 state and 2 to 256 symbols, got "
                f"{self.states} and {self.symbols}"
            )

    @property
    def rows(self) -> int:
        """Entries of the rule table: (K + 1) S, the halting state's own included."""
        return (self.states + 1) * self.symbols

    @cached_property
    def tape(self) -> np.ndarray:
        """The tape tokens, int [S]."""
        return np.arange(_FIRST_TAPE, _FIRST_TAPE + self.symbols)

    @cached_property
    def rule(self) -> np.ndarray:
        """The rule tokens, int [K + 1, S, 3], by next state, symbol written and move + 1."""
        first = _FIRST_TAPE + self.symbols
        return np.arange(first, first + 3 * self.rows).reshape(-1, self.symbols, 3)

    @property
    def no_rule(self) -> int:
        """The token of a table entry without a rule."""
        return _FIRST_TAPE + self.symbols + 3 * self.rows

    @cached_property
    def step(self) -> np.ndarray:
        """The step tokens, int [K + 1, S, 3, S]: as `rule`, and the symbol read."""
        shape = (self.states + 1, self.symbols, 3, self.symbols)
        first = self.no_rule + 1
        return np.arange(first, first + int(np.prod(shape))).reshape(shape)

    @cached_property
    def written_and_moved(self) -> tuple[np.ndarray, np.ndarray]:
        """By step token, from the first: symbol written, uint8 [n], and move, int64 [n]."""
        _, written, move, _ = np.indices(self.step.shape).reshape(4, -1)
        return written.astype(np.uint8), move - 1

    @property
    def size(self) -> int:
        """Tokens in all."""
        return self.no_rule + 1 + 3 * self.rows * self.symbols

    def actions(self, machine: TuringMachine) -> np.ndarray:
        """The machine's rule table at this size, int [K + 1, S, 3]: next state, written, move.

        The next state is -1 where no rule applies, and K for a state without rules.

        Raises:
          ValueError: more working states or symbols than fit.
        """
        working = _working(machine)
        if working > self.states or len(machine.alphabet) > self.symbols:
            raise ValueError(
                f"machine {machine.name!r}: expected at most {self.states} working states and "
                f"{self.symbols} symbols, got {working} and {len(machine.alphabet)}: build the "
                "construction for a larger size"
            )
        table = np.tile(np.array([-1, 0, 0]), (self.states + 1, self.symbols, 1))
        rules = machine.rules.reshape(len(machine.states), len(machine.alphabet), 3)[:working]
        table[:working, : len(machine.alphabet)] = rules
        # Codes are ordered: working states first, then the states without rules.
        after = table[..., 0]
        after[after >= working] = self.states
        return table

    def fill(self, *, tape: Any, actions: Any = None) -> Any:
        """A prompt: START, the rule table if it is given, the tape, GO: int32 [tokens].

        Args:
          tape: symbol codes, integers [cells] (`TuringMachine.encode_tape`).
          actions: a machine's rule table (`actions`), integers [K + 1, S, 3].
        """
        xp = namespace(tape, actions)
        table = []
        if actions is not None:
            after, written, move = (actions[..., i] for i in range(3))
            rule = int(self.rule[0, 0, 0]) + (after * self.symbols + written) * 3 + move + 1
            table = xp.where(after < 0, self.no_rule, rule).reshape(-1)
        symbols = _FIRST_TAPE + xp.asarray(tape, dtype=np.int32)
        return sequence([START], table, symbols, [GO])

    def transcribe(self, trace: Trace) -> np.ndarray:
        """The tokens of a trace's recorded steps, then END if it has halted: int32 [tokens]."""
        machine = trace.machine
        actions = self.actions(machine)[: len(machine.states), : len(machine.alphabet)]
        read = np.arange(len(machine.alphabet))[None, :]
        tokens = self.step[(*_index(actions), read)].astype(np.int32).reshape(-1)[trace.codes]
        return np.append(tokens, np.int32(END)) if trace.halted else tokens


def _working(machine: TuringMachine) -> int:
    """Codes below this are working states: the start, ruled or not, and all states with rules."""
    return len({machine.start, *machine.working})


def _index(actions: np.ndarray) -> tuple[np.ndarray, ...]:
    return actions[..., 0], actions[..., 1], actions[..., 2] + 1


class Transcript:
    """The run that a sequence of tokens describes, built up piece by piece.

    Memory is that of the tape, whatever the number of steps.

    Attributes:
      steps, halted, head: as in `Trace`.
      state: code of the present state, K for one without rules.
      last: (state, symbol) codes that the last step read, or None before the first.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self.steps = self.head = self.state = 0
        self.halted = False
        self.last: tuple[int, int] | None = None
        self._low = self._high = 0
        self._cells = np.zeros(64, np.uint8)
        self._origin = 32  # index of cell 0

    def extend(self, tokens: np.ndarray) -> Transcript:
        """Adds tokens: all or part of a prompt, steps, END (all after END is ignored).

        Raises:
          ValueError: not a vector of tokens of this vocabulary.
        """
        tokens = np.asarray(tokens)
        size = self.vocabulary.size
        if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
            raise ValueError(f"tokens: expected integers [T], got {tokens.dtype} {tokens.shape}")
        if tokens.size and not 0 <= tokens.min() <= tokens.max() < size:
            raise ValueError(
                f"tokens: expected 0 to {size - 1}, got {tokens.min()}..{tokens.max()}"
            )
        if tokens.size and tokens.min() >= self.vocabulary.step[0, 0, 0, 0] and not self.halted:
            self._walk(tokens)  # steps alone, as most pieces are
            return self
        ends = np.flatnonzero(tokens == END)
        if self.halted or len(ends):
            self.halted, tokens = True, tokens[: 0 if self.halted else ends[0]]
        first, last = self.vocabulary.tape[0], self.vocabulary.tape[-1]
        symbols = tokens[(tokens >= first) & (tokens <= last)] - first
        if len(symbols):
            self._reach(0, len(symbols) - 1)
            self._cells[self._origin : self._origin + len(symbols)] = symbols
        steps = tokens[tokens >= self.vocabulary.step[0, 0, 0, 0]]
        if len(steps):
            self._walk(steps)
        return self

    def _walk(self, steps: np.ndarray) -> None:
        code = steps - self.vocabulary.step[0, 0, 0, 0]
        written, moved = self.vocabulary.written_and_moved
        line = np.empty(len(code) + 1, np.int64)  # where the head stands, before and behind steps
        line[0] = 0
        np.cumsum(moved[code], out=line[1:])
        self._low = min(self._low, self.head + int(line.min()))
        self._high = max(self._high, self.head + int(line.max()))
        self._reach(self._low, self._high)
        line += self._origin + self.head
        self._cells[line[:-1]] = written[code]  # of equal places the last assignment stays
        self.head = int(line[-1]) - self._origin
        after, _, _, read = np.unravel_index(code[-2:], self.vocabulary.step.shape)
        self.last = (int(after[-2]) if len(code) > 1 else self.state, int(read[-1]))
        self.state = int(after[-1])
        self.steps += len(code)

    def _reach(self, low: int, high: int) -> None:
        """Makes room for the cells from low to high."""
        left, right = -low - self._origin, self._origin + high + 1 - len(self._cells)
        if left > 0 or right > 0:
            room = len(self._cells)
            pad = (left + room if left > 0 else 0, right + room if right > 0 else 0)
            self._cells = np.pad(self._cells, pad)
            self._origin += pad[0]

    def span(self) -> np.ndarray:
        """Symbol codes of the cells visited, uint8, from the leftmost."""
        return self._cells[self._origin + self._low : self._origin + self._high + 1]

    def answer(self) -> dict[str, Any]:
        """Steps, halted, state, head, tape_start and tape (the span visited), by code."""
        return {
            "steps": self.steps,
            "halted": self.halted,
            "state": self.state,
            "head": self.head,
            "tape_start": self._low,
            "tape": self.span().tolist(),
        }

    def saved(self) -> dict[str, Any]:
        """All of it, as a JSON object; see `restore`."""
        room = {"origin": self._origin, "cells": self._cells.tolist(), "high": self._high}
        return self.answer() | room | {"last": self.last}

    def restore(self, saved: Mapping[str, Any]) -> None:
        """Becomes the transcript that was `saved`."""
        self.steps, self.halted = saved["steps"], saved["halted"]
        self.state, self.head = saved["state"], saved["head"]
        self.last = tuple(saved["last"]) if saved["last"] else None
        self._low, self._high = saved["tape_start"], saved["high"]
        self._origin, self._cells = saved["origin"], np.array(saved["cells"], np.uint8)

    def named(self, machine: TuringMachine) -> dict[str, Any]:
        """`answer` with the machine's own names of the state and the symbols."""
        answer = self.answer()
        if self.state < self.vocabulary.states or self.last is None:
            state = machine.states[self.state]
        else:
            key = machine.states[self.last[0]], machine.alphabet[self.last[1]]
            state = machine.delta[key][0]
        return answer | {"state": state, "tape": [machine.alphabet[a] for a in answer["tape"]]}


def answer_of(vocabulary: Vocabulary, tokens: np.ndarray) -> dict[str, Any]:
    """The answer that a whole run's tokens describe: prompt, steps, and END if it has halted."""
    return Transcript(vocabulary).extend(tokens).answer()


def trace_of(machine: TuringMachine, answer: Mapping[str, Any]) -> Trace:
    """The machine's run, without a record of its steps, that ended with this answer.

    Args:
      machine: the machine.
      answer: by code (`Transcript.answer`), or by the machine's names (`Transcript.named`).

    >>> machine = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ")
    >>> answer = {"steps": 1, "halted": False, "state": 1, "head": 1, "tape_start": 0}
    >>> trace_of(machine, answer | {"tape": [1, 0]}).tape
    ['1', '0']
    """
    state = answer["state"]
    if not isinstance(state, str):
        # All states without rules share one code.
        state = machine.states[min(state, len(machine.states) - 1)]
    cells = [machine.alphabet.index(a) if isinstance(a, str) else a for a in answer["tape"]]
    return Trace(
        machine=machine,
        steps=answer["steps"],
        halted=answer["halted"],
        state=state,
        head=answer["head"],
        tape_start=answer["tape_start"],
        cells=np.array(cells, np.uint8),
        codes=np.zeros(0, np.uint8),
    )


def oracle(vocabulary: Vocabulary, problem: Mapping[str, Any], most_steps: int) -> dict[str, Any]:
    """The interpreter's answer, in the form of `Transcript.answer`.

    Args:
      problem: ``machine``, ``tape`` and, if less than ``most_steps``, ``steps``.
    """
    steps = problem.get("steps", most_steps)
    trace = problem["machine"].run(problem["tape"], steps, record=False)
    machine = trace.machine
    code = machine.states.index(trace.state)
    return {
        "steps": trace.steps,
        "halted": trace.halted,
        "state": code if code < _working(machine) else vocabulary.states,
        "head": trace.head,
        "tape_start": trace.tape_start,
        "tape": trace.cells.tolist(),
    }
