"""Machines of several tapes: their interpreter, and the machine of one tape that does the same.

Letters: k tapes; cell c of tape t is cell c k + t of the one tape. Each of its cells holds a
symbol, and whether the head of its own tape stands on it.

The compiled machine carries out one step in two sweeps. The first goes right from the leftmost
head and gathers the symbols under the heads; at the last of them the rule is known. The second goes
left, writes, and moves each head by walking k cells to its side and back.

Slow-down. Let D be the distance, in cells of one tape, between the outermost heads before a step.
The first sweep starts at most 2k - 1 cells left of the leftmost head and ends on the last, at most
k D + k - 1 cells from the leftmost; the second makes as many moves back, at most 2k + 1 more for
each of k heads, and at most 2k - 1 to where the next one starts. So a step takes at most
2 k D + 2 k^2 + 7 k steps. Heads part by at most 2 cells a step, hence T steps take at most
2 k T^2 + (2 k^2 + 7 k) T: the square, as for every simulation by sweeps (Hopcroft and Ullman,
Introduction to automata theory, languages, and computation, 1979, theorem 7.2).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from constructions.programs.turing import Rule, TuringMachine

Symbols = tuple[str, ...]
Action = tuple[str, Symbols, tuple[int, ...]]  # next state, written, moves


@dataclass(frozen=True)
class MultiTapeMachine:
    """A machine of k tapes that halts where no rule applies; the input is on the first.

    Args:
      name: what to call it.
      tapes: k.
      alphabet, blank, start: as of a `TuringMachine`.
      delta: (state, symbols read) -> (next state, symbols written, moves), k of each.

    >>> rules = {("go", ("1", "_")): ("go", ("1", "1"), (1, 1))}
    >>> copy = MultiTapeMachine("copy", 2, ("_", "1"), "_", "go", rules)
    >>> run = copy.run("111", 100)
    >>> run.steps, run.tapes, copy.compiled().run("111", 1000).halted
    (3, ('111', '111'), True)
    """

    name: str
    tapes: int
    alphabet: tuple[str, ...]
    blank: str
    start: str
    delta: Mapping[tuple[str, Symbols], Action] = field(hash=False)

    def run(self, tape: Iterable[str], max_steps: int) -> MultiTapeRun:
        """The interpreter: what `compiled` is compared with."""
        cells = [dict(enumerate(tape)), *({} for _ in range(self.tapes - 1))]
        state, heads, steps, spread = self.start, [0] * self.tapes, 0, 0
        while True:
            reads = tuple(c.get(h, self.blank) for c, h in zip(cells, heads, strict=True))
            action = self.delta.get((state, reads))
            spread += max(heads) - min(heads)
            if action is None or steps == max_steps:
                tapes = tuple(_text(tape, self.blank) for tape in cells)
                return MultiTapeRun(steps, action is None, state, tuple(heads), tapes, spread)
            state, writes, moves = action
            for t in range(self.tapes):
                cells[t][heads[t]] = writes[t]
                heads[t] += moves[t]
            steps += 1

    def compiled(self, *, most: int = 1 << 16, tape: Iterable[str] = ()) -> CompiledMachine:
        """The machine of one tape.

        Args:
          most: states that it may have.
          tape: the input that its author gives.

        Raises:
          ValueError: it needs more states.
        """
        compiler = _Compiler(self, most)
        delta = compiler.rules()
        plain, marked = zip(*((_plain(a), _marked(a)) for a in self.alphabet), strict=True)
        return CompiledMachine(
            self.name,
            tuple(compiler.names.values()),
            plain + marked,
            _plain(self.blank),
            compiler.start,
            delta,
            tuple(tape),
            source=self,
        )


@dataclass(frozen=True)
class MultiTapeRun:
    """What a machine of several tapes did.

    Attributes:
      steps, halted, state: as of a `Trace`.
      heads: the cell of each head; cell 0 is the first of the input.
      tapes: each tape from its first to its last symbol that is not blank.
      spread: the sum, over the start and all steps, of the distance between the outermost heads.
    """

    steps: int
    halted: bool
    state: str
    heads: tuple[int, ...]
    tapes: tuple[str, ...]
    spread: int

    def slow_down(self, tapes: int) -> int:
        """The most steps that the machine of one tape takes for these, by the proof above."""
        return 2 * tapes * self.spread + (2 * tapes**2 + 7 * tapes) * (self.steps + 1)


@dataclass(frozen=True)
class CompiledMachine(TuringMachine):
    """A machine of one tape that carries out one of several.

    A tape in the symbols of the source is laid out: it becomes the first tape, the heads on its
    first cell. Symbols of the compiled alphabet are taken as they are.

    Args:
      source: the machine of several tapes.
    """

    source: MultiTapeMachine = field(kw_only=True, hash=False)

    def encode_tape(self, tape: Iterable[str]) -> np.ndarray:
        """Symbol codes of a tape, uint8 [cells]; see `TuringMachine.encode_tape`."""
        tape = list(tape)
        if all(symbol in self.source.alphabet for symbol in tape):
            tape = self._laid_out(tape)
        return super().encode_tape(tape)

    def _laid_out(self, tape: Sequence[str]) -> list[str]:
        k, blank = self.source.tapes, _plain(self.source.blank)
        first = tape[0] if tape else self.source.blank
        cells = [_marked(first), *[_marked(self.source.blank)] * (k - 1)]
        for symbol in tape[1:]:
            cells += [_plain(symbol), *[blank] * (k - 1)]
        return cells

    def tapes(self, cells: Sequence[str], tape_start: int, tape: Iterable[str]) -> tuple[str, ...]:
        """The k tapes of the source after a run.

        Args:
          cells, tape_start: the visited span of the one tape, and where it begins.
          tape: the input, in symbols of the source; of it, cells may be left that were not visited.
        """
        found = [dict(enumerate(tape)), *({} for _ in range(self.source.tapes - 1))]
        for place, symbol in enumerate(cells, start=tape_start):
            found[place % self.source.tapes][place // self.source.tapes] = symbol[:-1]
        return tuple(_text(tape, self.source.blank) for tape in found)

    @cached_property
    def source_states(self) -> Mapping[str, str]:
        """The source's state for each state."""
        halting = {state for state, _, _ in self.source.delta.values()} | {self.source.start}
        return {q: q if q in halting else q.rpartition("|")[0] for q in self.states}


def _plain(symbol: str) -> str:
    return f"{symbol}."


def _marked(symbol: str) -> str:
    return f"{symbol}^"


def _text(cells: Mapping[int, str], blank: str) -> str:
    used = [cell for cell, symbol in cells.items() if symbol != blank]
    if not used:
        return ""
    return "".join(cells.get(cell, blank) for cell in range(min(used), max(used) + 1))


@dataclass(frozen=True)
class _Read:
    """The first sweep: the symbols seen so far; phase is the tape of the present cell."""

    state: str
    seen: tuple[str | None, ...]
    phase: int


@dataclass(frozen=True)
class _Write:
    """The second sweep: the tapes whose heads have not been moved."""

    action: Action
    todo: frozenset[int]
    phase: int


@dataclass(frozen=True)
class _Mark:
    """A head that has been taken to the present cell; todo are the tapes still to be moved."""

    action: Action
    todo: frozenset[int]
    phase: int


@dataclass(frozen=True)
class _Walk:
    """So many cells in a direction, and then what comes there."""

    move: int
    left: int
    then: _Read | _Write | _Mark


@dataclass(frozen=True)
class _Halt:
    """A state without rules."""

    state: str


_Memo = _Read | _Write | _Mark | _Walk | _Halt
_Step = tuple[_Memo, str | None, int]  # what comes, symbol written (None: the one read), move


class _Compiler:
    """The rules of the compiled machine, its states named as they are reached from the start."""

    def __init__(self, machine: MultiTapeMachine, most: int) -> None:
        self._machine, self._most, self._k = machine, most, machine.tapes
        # By state and symbols seen: the reads of its rules that agree with them.
        self._keys: dict[tuple[str, tuple[str | None, ...]], list[Symbols]] = {}
        self._nothing = (None,) * self._k
        for state, reads in machine.delta:
            self._keys.setdefault((state, self._nothing), []).append(reads)
        self._grouped: set[_Read] = set()
        self.names: dict[_Memo, str] = {}
        self._open: list[_Memo] = []
        self.start = self._name(self._read(machine.start, 0))

    def rules(self) -> dict[tuple[str, str], Rule]:
        """All rules; `names` has all states afterwards."""
        delta = {}
        while self._open:
            memo = self._open.pop()
            for symbol in self._machine.alphabet:
                for read, is_head in ((_plain(symbol), False), (_marked(symbol), True)):
                    step = self._step(memo, symbol, is_head)
                    if step is not None:
                        after, written, move = step
                        delta[self.names[memo], read] = self._name(after), written or read, move
        return delta

    def _name(self, memo: _Memo) -> str:
        if memo not in self.names:
            if len(self.names) >= self._most:
                raise ValueError(
                    f"machine {self._machine.name!r}: its {self._k} tapes need more than "
                    f"{self._most:,} states on one tape"
                )
            last = memo.then if isinstance(memo, _Walk) else memo
            state = last.action[0] if isinstance(last, _Write | _Mark) else last.state
            self.names[memo] = f"{state}|{len(self.names)}"
            if isinstance(memo, _Halt):
                self.names[memo] = state
            else:
                self._open.append(memo)
        return self.names[memo]

    def _read(self, state: str, phase: int) -> _Read | _Halt:
        if (state, self._nothing) not in self._keys:
            return _Halt(state)
        return _Read(state, self._nothing, phase % self._k)

    def _step(self, memo: _Memo, symbol: str, is_head: bool) -> _Step | None:
        """What happens on this symbol; None where no rule of the source can apply any more."""
        match memo:
            case _Read():
                return self._seen(memo, symbol) if is_head else self._on(memo, 1)
            case _Write(action, todo, phase) if is_head and phase in todo:
                return self._moved(action, todo - {phase}, phase)
            case _Write():
                return self._on(memo, -1)
            case _Walk(move, left, then):
                return _walk(move, left - 1, then), None, move
            case _Mark(action, todo, phase):
                after, move = self._marked(action, todo, phase)
                return after, _marked(symbol), move
        return None

    def _on(self, memo: _Read | _Write, move: int) -> _Step:
        return replace(memo, phase=(memo.phase + move) % self._k), None, move

    def _seen(self, memo: _Read, symbol: str) -> _Step | None:
        seen = tuple(symbol if t == memo.phase else a for t, a in enumerate(memo.seen))
        if memo not in self._grouped:
            self._group(memo)
        if (memo.state, seen) not in self._keys:
            return None
        if None in seen:
            return self._on(replace(memo, seen=seen), 1)
        action = self._machine.delta[memo.state, self._keys[memo.state, seen][0]]
        return self._moved(action, frozenset(range(self._k)) - {memo.phase}, memo.phase)

    def _group(self, memo: _Read) -> None:
        """The rules that agree with what has been seen, parted by the next symbol."""
        self._grouped.add(memo)
        seen, t = memo.seen, memo.phase
        found: dict[str, list[Symbols]] = {}
        for key in self._keys[memo.state, seen]:
            found.setdefault(key[t], []).append(key)
        for symbol, keys in found.items():
            self._keys[memo.state, (*seen[:t], symbol, *seen[t + 1 :])] = keys

    def _moved(self, action: Action, todo: frozenset[int], tape: int) -> _Step:
        """On the cell of a head: it is written, and the head set out."""
        state, writes, moves = action
        if moves[tape]:
            arrival = _Mark(action, todo, tape)
            return _walk(moves[tape], self._k - 1, arrival), _plain(writes[tape]), moves[tape]
        written = _marked(writes[tape])
        if todo:
            return _Write(action, todo, (tape - 1) % self._k), written, -1
        # All other heads stand right of this cell less k.
        then = self._read(state, tape - self._k + 1)
        if isinstance(then, _Halt):
            return then, written, 0
        return _walk(-1, self._k - 2, then), written, -1

    def _marked(self, action: Action, todo: frozenset[int], tape: int) -> tuple[_Memo, int]:
        """What comes, and the move, on the cell to which a head was taken, k cells from its old."""
        k, right = self._k, action[2][tape] > 0
        if todo:
            then = _Write(action, todo, (tape - 1) % k)  # on the cell left of the old one
            return (_walk(-1, k, then), -1) if right else (_walk(1, k - 2, then), 1)
        first = self._read(action[0], tape - 2 * k + 1 if right else tape)
        if isinstance(first, _Halt) or not right:
            return first, 0  # no head stands left of it
        return _walk(-1, 2 * k - 2, first), -1


def _walk(move: int, left: int, then: _Read | _Write | _Mark) -> _Walk | _Read | _Write | _Mark:
    return _Walk(move, left, then) if left else then
