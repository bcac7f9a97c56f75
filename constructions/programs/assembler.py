"""A macro assembler: programs with several tapes, compiled to machines with one.

A program is a list of instructions. Each looks at the symbol under the head of the tape that the
program is `on`, writes, moves that head, and goes on with the next instruction or at a label.
Macros are Python functions that emit instructions.

The tapes lie side by side on the one tape, left to right. The head of the tape that the program is
on is the machine's own; every other head rests on a marked symbol, `Tape.marks` naming the marked
forms. So an instruction is one state, and to change from tape i to tape j is to mark the cell, to
walk towards the |i - j|-th mark and to remove it: |i - j| + 1 states, and as many steps as there
are cells between the two heads. The first tape is endless to the left and the last to the right;
those between are as long as `layout` makes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from constructions.programs.compaction import Table, compact
from constructions.programs.turing import MOVES, TuringMachine

NEXT = None  # go on with the next instruction
HERE = "<here>"  # repeat this instruction

Action = tuple[str | None, str, str | None]  # symbol written (None: as read), move, where next


@dataclass(frozen=True)
class Tape:
    """A tape of a program.

    Attributes:
      name: what `Assembler.on` calls it.
      symbols: the symbols that its head may read.
      marks: the marked form of each symbol that its head may be left on.
    """

    name: str
    symbols: str
    marks: Mapping[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Instruction:
    """What to do on each symbol under the head of a tape; a symbol not named halts."""

    tape: int
    actions: Mapping[str, Action]


@dataclass(frozen=True)
class Switch:
    """Leave the head of one tape for the head of another."""

    tape: int
    to: int


class Assembler:
    """Collects a program and assembles it.

    Args:
      name: the machine's name.
      tapes: from left to right; the program starts on the first cell of the first one.
      blank: the machine's blank.
      halts: the halting states; to go there as to a label is to halt.

    A program that copies one tape to another:

    >>> source = Tape("source", "01#", marks={"0": "a", "1": "b"})
    >>> target = Tape("target", "01_", marks={"_": "c"})
    >>> a = Assembler("copy", source, target)
    >>> for bit in a.loop("01", until="#"):
    ...     a.on("target")
    ...     a.write(bit)
    ...     a.move("R")
    ...     a.on("source")
    ...     a.move("R")
    >>> a.goto("done")
    >>> trace = a.assemble().run(a.layout("0110#", "_"), 1000)
    >>> "".join(trace.tape), trace.state
    ('0110#0110c', 'done')
    """

    def __init__(
        self, name: str, *tapes: Tape, blank: str = "_", halts: Sequence[str] = ("done",)
    ) -> None:
        self.name = name
        self.tapes = tapes
        self.code: list[Instruction | Switch] = []
        self.labels: dict[str, int] = {}
        self.halts = tuple(halts)
        self._blank = blank
        self._tape: int | None = 0  # None: no instruction leads here
        self._tape_at: dict[str, int] = {}
        self._made = 0
        marks = {mark for tape in tapes for mark in tape.marks.values()}
        for tape in tapes:
            if clash := marks & {*tape.symbols, blank}:
                raise ValueError(f"marks {sorted(clash)} are symbols of tape {tape.name!r} too")
            if alien := set(tape.marks) - set(tape.symbols):
                raise ValueError(f"tape {tape.name!r} marks {sorted(alien)}, not its symbols")

    # Places

    def label(self, name: str, tape: str | None = None) -> None:
        """Names this place. All that lead here must be on the same tape.

        Args:
          name: the label.
          tape: which tape that is; needed where only later instructions lead here.
        """
        if name in self.labels or name in self.halts:
            raise ValueError(f"label {name!r} is defined twice")
        for here in (self._tape, None if tape is None else self._index(tape)):
            if here is not None:
                self._check_tape(name, here)
        if name not in self._tape_at:
            raise ValueError(f"label {name!r}: nothing before it leads here; name its tape")
        self._tape = self._tape_at[name]
        self.labels[name] = len(self.code)

    def fresh(self, stem: str) -> str:
        """A name for a label that no other call returns."""
        self._made += 1
        return f"{stem}.{self._made}"

    # Instructions

    def rules(self, actions: Mapping[str, Action]) -> None:
        """One instruction: for each of some symbols, what to write, where to move and to go.

        Args:
          actions: a key may be several symbols, which are treated alike.
        """
        tape = self._here()
        spread = {symbol: action for symbols, action in actions.items() for symbol in symbols}
        if sum(map(len, actions)) != len(spread):
            raise ValueError(f"instruction {len(self.code)} names a symbol twice: {list(actions)}")
        known = self.tapes[tape].symbols
        used = {*spread, *(written for written, _, _ in spread.values() if written)}
        if alien := used - set(known):
            raise ValueError(f"{sorted(alien)} are not symbols of tape {self.tapes[tape].name!r}")
        for _, _, target in spread.values():
            if target not in (NEXT, HERE):
                self._check_tape(str(target), tape)
        self.code.append(Instruction(tape, MappingProxyType(spread)))
        if all(target is not NEXT for _, _, target in spread.values()):
            self._tape = None

    def write(self, symbol: str) -> None:
        """Writes a symbol."""
        self.rules({self._symbols(): (symbol, "S", NEXT)})

    def move(self, move: str) -> None:
        """Moves the head, `L` or `R`."""
        self.rules({self._symbols(): (None, move, NEXT)})

    def goto(self, label: str) -> None:
        """Goes on at a label."""
        self.rules({self._symbols(): (None, "S", label)})

    def branch(self, targets: Mapping[str, str]) -> None:
        """Goes on at the label of the symbol read, or with the next instruction."""
        rest = "".join(s for s in self._symbols() if s not in "".join(targets))
        actions: dict[str, Action] = {s: (None, "S", label) for s, label in targets.items()}
        self.rules(actions | {rest: (None, "S", NEXT)})

    def seek(self, move: str, until: str) -> None:
        """Moves the head until it reads one of some symbols; it may stand on one already."""
        rest = "".join(s for s in self._symbols() if s not in until)
        self.rules({until: (None, "S", NEXT), rest: (None, move, HERE)})

    def on(self, name: str) -> None:
        """Leaves this tape's head marked and goes on with another tape."""
        here = self._here()
        to = self._index(name)
        if to != here:
            self.code.append(Switch(here, to))
            self._tape = to

    # Structure

    def choose(self, symbols: str) -> Iterator[str]:
        """Runs the body for the symbol read, one of `symbols`, then goes on below.

        Use it as a `for` statement: its body is emitted once for each symbol.
        """
        end = self.fresh("end")
        labels = {symbol: self.fresh(f"on {symbol}") for symbol in symbols}
        self.rules({symbol: (None, "S", label) for symbol, label in labels.items()})
        yield from self._bodies(labels, end)
        if end in self._tape_at:
            self.label(end)

    def loop(self, symbols: str, until: str) -> Iterator[str]:
        """While the head reads one of `symbols`, runs its body; at one of `until`, goes on below.

        Use it as a `for` statement: its body is emitted once for each symbol.
        """
        top, end = self.fresh("loop"), self.fresh("end")
        labels = {symbol: self.fresh(f"on {symbol}") for symbol in symbols}
        self.label(top)
        self.rules({s: (None, "S", label) for s, label in (labels | {until: end}).items()})
        yield from self._bodies(labels, top)
        self.label(end)

    def _bodies(self, labels: Mapping[str, str], then: str) -> Iterator[str]:
        for symbol, label in labels.items():
            self.label(label)
            yield symbol
            if self._tape is not None:
                self.goto(then)

    # Results

    def layout(self, *contents: str) -> str:
        """The one tape that holds the given tapes, each head but the first on a marked cell.

        That is the tape's first cell that has a marked form; the first tape's head is on cell 0.

        Raises:
          ValueError: not one content a tape, or none of its cells has a marked form.
        """
        if len(contents) != len(self.tapes):
            raise ValueError(f"expected {len(self.tapes)} tapes, got {len(contents)}")
        text = contents[0]
        for tape, content in zip(self.tapes[1:], contents[1:], strict=True):
            head = next((i for i, symbol in enumerate(content) if symbol in tape.marks), None)
            if head is None:
                raise ValueError(f"tape {tape.name!r} needs one of {sorted(tape.marks)} for a head")
            text += content[:head] + tape.marks[content[head]] + content[head + 1 :]
        return text

    def assemble(self) -> TuringMachine:
        """The machine: steps that stay are fused, states that behave alike are one."""
        missing = set(self._tape_at) - set(self.labels) - set(self.halts)
        if missing:
            raise ValueError(f"labels {sorted(missing)} are nowhere defined")
        if self._tape is not None:
            raise ValueError("the program runs past its last instruction; end it by a jump")
        names = self._names()
        table: Table = {name: {} for name in self.halts}
        for i, instruction in enumerate(self.code):
            if isinstance(instruction, Switch):
                table |= self._switch(names, i, instruction)
                continue
            table[names[i]] = row = {}
            for symbol, (written, move, target) in instruction.actions.items():
                if target is NEXT:
                    after = names[i + 1]
                elif target == HERE:
                    after = names[i]
                else:
                    after = target if target in self.halts else names[self.labels[target]]
                row[symbol] = (after, written or symbol, MOVES[move])
        table = compact(table, names[0])
        delta = {(q, a): rule for q, row in table.items() for a, rule in row.items()}
        alphabet = dict.fromkeys(self._blank)
        for tape in self.tapes:
            alphabet |= dict.fromkeys((*tape.symbols, *tape.marks.values()))
        states = tuple(table)
        return TuringMachine(self.name, states, tuple(alphabet), self._blank, states[0], delta)

    def _switch(self, names: list[str], i: int, switch: Switch) -> Table:
        """Marks the cell, passes the marks of the tapes between, and removes the last one."""
        step = 1 if switch.to > switch.tape else -1
        move = step
        path = self.tapes[switch.tape :: step][: abs(switch.to - switch.tape) + 1]
        states = [names[i], *(f"{names[i]} to {tape.name}" for tape in path[1:]), names[i + 1]]
        table: Table = {
            states[0]: {s: (states[1], mark, move) for s, mark in path[0].marks.items()}
        }
        for k in range(1, len(path)):
            last = k == len(path) - 1
            table[states[k]] = row = {}
            for symbol in path[k - 1].symbols + path[k].symbols:
                row[symbol] = (states[k], symbol, move)
            for symbol, mark in path[k].marks.items():
                row[mark] = (states[k + 1], symbol, 0) if last else (states[k + 1], mark, move)
        return table

    def _names(self) -> list[str]:
        """A readable name for every instruction: its label, or the last one and a distance."""
        at = {place: label for label, place in reversed(self.labels.items())}
        names, label, base = [], "start", 0
        for i in range(len(self.code)):
            if i in at:
                label, base = at[i], i
            names.append(label if i == base and i in at else f"{label}+{i - base}")
        return names

    def _index(self, name: str) -> int:
        names = [tape.name for tape in self.tapes]
        if name not in names:
            raise ValueError(f"expected one of the tapes {names}, got {name!r}")
        return names.index(name)

    def _symbols(self) -> str:
        return self.tapes[self._here()].symbols

    def _here(self) -> int:
        if self._tape is None:
            raise ValueError(f"instruction {len(self.code)} follows a jump and has no label")
        return self._tape

    def _check_tape(self, label: str, tape: int) -> None:
        if label not in self.halts and self._tape_at.setdefault(label, tape) != tape:
            names = [self.tapes[t].name for t in (self._tape_at[label], tape)]
            raise ValueError(f"label {label!r} is reached on tape {names[0]!r} and on {names[1]!r}")
