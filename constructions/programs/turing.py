"""Turing machines and their interpreter: the ground truth for every machine construction.

Letters: Q states, S symbols, n recorded steps. State and symbol *codes* are indices into
`TuringMachine.states` and `TuringMachine.alphabet`; code 0 is the start state and the blank. The
rule used by a step that reads symbol a in state q has the code p = q S + a.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from types import MappingProxyType

import numpy as np

from constructions.argument_types import checked, short
from constructions.programs.machine_faults import faults, listed, told
from constructions.programs.macro_steps import MacroSteps

Rule = tuple[str, str, int]
MOVES = {"L": -1, "S": 0, "R": 1}


@dataclass(frozen=True)
class TuringMachine:
    """A one-tape Turing machine that halts where no rule applies.

    delta maps (state, symbol) to (next state, symbol written, move), move being -1, 0 or +1. A
    state without rules is a halting state: the step that enters it counts. An undefined pair in
    any other state halts without counting a step.

    Args:
      name: what to call it.
      states: distinct names; stored with the start first and the states without rules last.
      alphabet: distinct symbols; stored with the blank first.
      blank: the symbol of a cell never written.
      start: the first state.
      delta: the rules.
      input: the tape that its author gives with it; nothing that the machine does depends on it.

    Raises:
      ValueError: naming every fault at once.

    >>> rules = {("go", "0"): ("go", "1", 1), ("go", "1"): ("go", "0", 1)}
    >>> rules["go", "_"] = ("end", "_", 0)
    >>> flip = TuringMachine("flip", ("go", "end"), ("_", "0", "1"), "_", "go", rules)
    >>> trace = flip.run("011", 100)
    >>> trace.tape, trace.steps, trace.halted, trace.state, trace.head
    (['1', '0', '0', '_'], 4, True, 'end', 3)
    """

    name: str
    states: tuple[str, ...]
    alphabet: tuple[str, ...]
    blank: str
    start: str
    delta: Mapping[tuple[str, str], Rule] = field(hash=False)
    input: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        reasons = list(faults(self))
        if reasons:
            raise ValueError(f"machine {short(self.name)}: " + told(reasons))
        ruled = {state for state, _ in self.delta}
        states = sorted(self.states, key=lambda q: (q != self.start, q not in ruled))
        alphabet = sorted(self.alphabet, key=lambda a: a != self.blank)  # stable: only blank moves
        delta = {key: (q, w, int(d)) for key, (q, w, d) in self.delta.items()}
        object.__setattr__(self, "states", tuple(states))
        object.__setattr__(self, "alphabet", tuple(alphabet))
        object.__setattr__(self, "delta", MappingProxyType(delta))

    @classmethod
    @partial(checked, left=("cls",))
    def from_bbchallenge(cls, line: str, name: str | None = None) -> TuringMachine:
        """The machine of a bbchallenge line: rows A_B_..., per symbol 0, 1, ... write, move, next.

        `---` is an undefined transition; Z, or H, is the halting state unless it names a row.

        >>> machine = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ", name="BB(2)")
        >>> trace = machine.run("", 100)
        >>> trace.steps, trace.tape.count("1")
        (6, 4)

        Raises:
          ValueError: naming every fault at once.

        Source: https://www.sligocki.com/2022/10/09/standard-tm-format.html
        """
        line = line.strip()
        rows = line.split("_")
        width = len(rows[0])
        reasons = []
        if not 1 <= len(rows) <= 26:
            reasons.append(f"expected 1 to 26 rows, got {len(rows)}")
        if width % 3 or not 3 <= width <= 30:
            reasons.append(f"expected 1 to 10 transitions of 3 characters a row, got {width} in A")
        working = [chr(ord("A") + i) for i in range(min(len(rows), 26))]
        symbols = [str(i) for i in range(min(max(width // 3, 1), 10))]
        halting = [q for q in "ZH" if q not in working]
        pattern = re.compile(f"[{symbols[0]}-{symbols[-1]}][LR][{''.join(working + halting)}]|---")
        delta: dict[tuple[str, str], Rule] = {}
        for state, row in zip(working, rows, strict=False):
            if len(row) != width:
                reasons.append(f"row {state} has {len(row)} characters, row A has {width}")
                continue
            for symbol, cell in zip(symbols, re.findall("(?s)...", row), strict=False):
                if not pattern.fullmatch(cell):
                    reasons.append(
                        f"transition {state}{symbol} is {cell!r}, expected a symbol of"
                        f" {symbols[0]}-{symbols[-1]}, L or R, and a state of"
                        f" {''.join(working + halting)}, or ---"
                    )
                elif cell != "---":
                    delta[state, symbol] = (cell[2], cell[0], MOVES[cell[1]])
        if reasons:
            shown = line if len(line) <= 60 else line[:57] + "..."
            raise ValueError(f"bbchallenge line {shown!r}: " + told(reasons))
        used = {q for q, _, _ in delta.values()}
        states = working + [q for q in halting if q in used]
        return cls(name or line, tuple(states), tuple(symbols), "0", "A", delta)

    @cached_property
    def rules(self) -> np.ndarray:
        """The rule table by code, int32 [Q S, 3]: next state (-1: no rule), written, move."""
        table = np.tile(np.array([-1, 0, 0], np.int32), (len(self.states) * len(self.alphabet), 1))
        code = self._codes
        for (state, symbol), (after, written, move) in self.delta.items():
            row = code[0][state] * len(self.alphabet) + code[1][symbol]
            table[row] = code[0][after], code[1][written], move
        table.flags.writeable = False
        return table

    @cached_property
    def working(self) -> tuple[str, ...]:
        """The states that have a rule, in the order of their codes."""
        ruled = {state for state, _ in self.delta}
        return tuple(q for q in self.states if q in ruled)

    @cached_property
    def _codes(self) -> tuple[dict[str, int], dict[str, int]]:
        return (
            {state: i for i, state in enumerate(self.states)},
            {symbol: i for i, symbol in enumerate(self.alphabet)},
        )

    def encode_tape(self, tape: Iterable[str]) -> np.ndarray:
        """Symbol codes of a tape, uint8 [cells].

        Args:
          tape: a string of one-character symbols, or a sequence of symbols.

        Raises:
          ValueError: naming every symbol that the alphabet lacks.
        """
        try:
            tape = list(tape)
        except TypeError:
            raise ValueError(f"tape: expected symbols, got {short(tape)}") from None
        code = self._codes[1]
        unknown = list(
            {repr(x): x for x in tape if not isinstance(x, str) or x not in code}.values()
        )
        if unknown:
            raise ValueError(
                f"machine {self.name!r}: tape symbols {listed(unknown)} are not in its alphabet"
                f" {listed(self.alphabet)}"
            )
        return np.fromiter((code[symbol] for symbol in tape), np.uint8, len(tape))

    @checked
    def run(self, tape: Iterable[str], max_steps: int, *, record: bool = True) -> Trace:
        """Runs from the start state on cell 0, the first cell of the tape.

        Args:
          tape: a string of one-character symbols, or a sequence of symbols.
          max_steps: where a machine that has not halted is stopped.
          record: keep the rule of every step (1, 2 or 4 bytes each); otherwise memory is the
            tape's.

        Raises:
          ValueError: max_steps is negative, or the tape holds an unknown symbol.
        """
        run = self._load(tape, max_steps)
        return self._trace(run, run.advance(max_steps, record=record))

    def run_blocks(
        self, tape: Iterable[str], max_steps: int, *, block: int = 1 << 20
    ) -> Iterator[Trace]:
        """Runs as `run` does and yields the trace in pieces of `block` steps, the last shorter.

        Each piece records its own steps; its other fields describe the machine after them. At
        least one piece comes, and memory is that of the tape and one piece.

        >>> machine = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ")
        >>> [(len(t.codes), t.steps, t.halted) for t in machine.run_blocks("", 9, block=4)]
        [(4, 4, False), (2, 6, True)]
        """
        if block < 1:
            raise ValueError(f"block must be at least 1 step, got {block}")
        run = self._load(tape, max_steps)
        while True:
            yield self._trace(run, run.advance(min(run.steps + block, max_steps), record=True))
            if run.halted or run.steps == max_steps:
                return

    def _load(self, tape: Iterable[str], max_steps: int) -> MacroSteps:
        if max_steps < 0:
            raise ValueError(f"max_steps must not be negative, got {max_steps}")
        return MacroSteps(self.rules, len(self.alphabet), self.encode_tape(tape))

    def _trace(self, run: MacroSteps, codes: np.ndarray) -> Trace:
        return Trace(
            machine=self,
            steps=run.steps,
            halted=run.halted,
            state=self.states[run.state],
            head=run.head,
            tape_start=run.low,
            cells=run.span(),
            codes=codes,
        )


@dataclass(frozen=True, eq=False)
class Trace:
    """What a machine did, and where it stands.

    Attributes:
      machine: the machine.
      steps: steps since the start of the run.
      halted: whether no rule applies any more.
      state: the present state.
      head: the head's cell; cell 0 is the first cell of the input.
      tape_start: the leftmost cell that the head has stood on.
      cells: symbol codes of the span that the head has stood on, uint8 [cells].
      codes: rule code p = q S + a of the last n steps, unsigned [n]; n is 0 without a record.
    """

    machine: TuringMachine
    steps: int
    halted: bool
    state: str
    head: int
    tape_start: int
    cells: np.ndarray
    codes: np.ndarray

    @property
    def tape(self) -> list[str]:
        """Symbols of the span that the head has stood on, from its leftmost cell."""
        return [self.machine.alphabet[code] for code in self.cells]

    @property
    def state_read(self) -> np.ndarray:
        """State code before each recorded step, int32 [n]."""
        return (self.codes // len(self.machine.alphabet)).astype(np.int32)

    @property
    def symbol_read(self) -> np.ndarray:
        """Symbol code read by each recorded step, int32 [n]."""
        return (self.codes % len(self.machine.alphabet)).astype(np.int32)

    @property
    def state_next(self) -> np.ndarray:
        """State code after each recorded step, int32 [n]."""
        return self.machine.rules[self.codes, 0]

    @property
    def symbol_written(self) -> np.ndarray:
        """Symbol code written by each recorded step, int32 [n]."""
        return self.machine.rules[self.codes, 1]

    @property
    def move(self) -> np.ndarray:
        """Head move of each recorded step, -1, 0 or +1, int32 [n]."""
        return self.machine.rules[self.codes, 2]

    @property
    def position(self) -> np.ndarray:
        """Cell on which each recorded step read and wrote, int64 [n]."""
        return self.head - np.cumsum(self.move[::-1], dtype=np.int64)[::-1]

    def symbol(self, cell: int) -> str:
        """The symbol of a cell that the head has stood on, the blank elsewhere.

        Cells of the input that were never visited are not part of a trace.
        """
        inside = self.tape_start <= cell < self.tape_start + len(self.cells)
        return self.machine.alphabet[self.cells[cell - self.tape_start] if inside else 0]
