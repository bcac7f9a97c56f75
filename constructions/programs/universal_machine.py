"""A universal Turing machine: it runs every machine of two symbols from a table on its tape.

Three tapes. The simulated tape is two stacks, the head's cell on top of the right one:

    left    1010,        the cell left of the head first; a 0 stands for all blanks below
    table   ;e f,e f...  a row for each state, with an entry for each symbol read
    right   ,0101        the head's cell last

An entry is `w m d 1...1 0`: the symbol written, the move (1 is right), and how many rows on the
next state stands, d = 1 and one tally less than that, or back, d = 0 and that many; or `0_`, to
halt. The table's head rests in the entry in use; a semicolon stands for the comma of the row that
is sought, and moves a row for each tally, which is x while it is done with.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from constructions.programs.assembler import HERE, NEXT, Action, Assembler, Tape
from constructions.programs.turing import Trace, TuringMachine

_MARKS = {"0": "a", "1": "b"}


@dataclass(frozen=True)
class Simulated:
    """A halted machine, read off the tape of the universal one.

    Attributes:
      state: the state in which it halted.
      left: symbols left of the head, the nearest first, no blanks at the end.
      right: the symbol under the head and those right of it, no blanks at the end.
    """

    state: str
    left: tuple[str, ...]
    right: tuple[str, ...]


@cache
def universal_machine() -> TuringMachine:
    """The machine; it depends on nothing.

    >>> from constructions.programs.turing import TuringMachine
    >>> beaver = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ", name="BB(2)")
    >>> trace = universal_machine().run(encode(beaver, ""), 10_000)
    >>> decode(trace, beaver)
    Simulated(state='Z', left=('1', '1'), right=('1', '1'))
    """
    return _program().assemble()


@cache
def _program() -> Assembler:
    a = Assembler(
        "universal machine",
        Tape("left", "01,_", _MARKS),
        Tape("table", "01,;x_", _MARKS),
        Tape("right", "01,_", _MARKS),
    )
    a.on("right")
    a.seek("R", "_")
    a.move("L")
    a.on("table")
    a.seek("L", ";")
    a.label("arrived")
    a.rules({";": (",", "R", NEXT)})
    _find_entry(a)
    _write_and_move(a)
    _jump(a)
    return a


def _find_entry(a: Assembler) -> None:
    """From the first cell of a row to that of the entry for the symbol under the simulated head."""
    a.on("right")
    for symbol in a.choose("01"):
        a.on("table")
        if symbol == "0":
            a.goto("entry")
            continue
        a.move("R")
        a.rules({"_": (None, "R", "entry"), "01": (None, "R", NEXT)})
        a.move("R")
        a.rules({"1": (None, "R", HERE), "0": (None, "R", "entry")})


def _write_and_move(a: Assembler) -> None:
    """Replaces the symbol and takes the head's cell from one stack to the other."""
    a.label("entry")
    for w in a.choose("01"):
        a.move("R")
        moves: dict[str, Action] = {"0": (None, "R", f"left {w}"), "1": (None, "R", f"right {w}")}
        a.rules(moves | {"_": (None, "L", "done")})
        a.label(f"right {w}")
        a.on("left")
        a.move("L")
        a.write(w)
        a.on("right")
        a.rules({"01": ("_", "L", NEXT)})
        a.rules({"01": (None, "S", f"moved {w}"), ",": (None, "R", NEXT)})
        a.write("0")
        a.label(f"moved {w}")
        a.on("table")
        a.goto("jump")
        a.label(f"left {w}")
        a.on("right")
        a.write(w)
        a.on("left")
        for symbol in a.choose("01"):
            a.rules({symbol: ("_", "R", NEXT)})
            a.rules({"01": (None, "S", f"popped {w} {symbol}"), ",": (None, "L", NEXT)})
            a.write("0")
            a.label(f"popped {w} {symbol}")
            a.on("right")
            a.move("R")
            a.write(symbol)
            a.on("table")
            a.goto("jump")


def _jump(a: Assembler) -> None:
    """Counts the entry's tallies off while a semicolon goes from row to row."""
    a.label("jump")
    for d in a.choose("01"):
        ahead, back = ("R", "L") if d == "1" else ("L", "R")
        a.write("x")
        a.seek(ahead, ",")
        a.label(f"row {d}")
        a.write(";")
        a.seek(back, "x")
        a.rules({"x": (None, "R", HERE), "1": ("x", "S", NEXT), "0": (None, "L", f"restore {d}")})
        a.seek(ahead, ";")
        a.rules({";": (",", ahead, NEXT)})
        a.seek(ahead, ",")
        a.goto(f"row {d}")
        a.label(f"restore {d}", "table")
        a.rules({"x": ("1", "L", HERE), "01": (None, "R", NEXT)})
        a.write(d)
        a.seek(ahead, ";")
        a.goto("arrived")


def encode(machine: TuringMachine, tape: str) -> str:
    """The tape on which `universal_machine` runs this machine; the head is on the first cell.

    Raises:
      ValueError: more than two symbols, or a move that stays.
    """
    if len(machine.alphabet) > 2:
        raise ValueError(f"expected two symbols, got {len(machine.alphabet)}: {machine.name}")
    digit = {symbol: str(int(symbol != machine.blank)) for symbol in machine.alphabet}
    place = {state: i for i, state in enumerate(machine.states)}

    def entry(state: str, symbol: str | None) -> str:
        rule = machine.delta.get((state, symbol or ""))
        if rule is None:
            return "0_"
        after, written, move = rule
        if not move:
            raise ValueError(
                f"{machine.name}: expected moves to left and right, got one that stays"
            )
        ahead = place[after] - place[state]
        tallies = ahead - 1 if ahead > 0 else -ahead
        return f"{digit[written]}{int(move > 0)}{int(ahead > 0)}{'1' * tallies}0"

    one = next((s for s in machine.alphabet if s != machine.blank), None)
    rows = [entry(state, machine.blank) + entry(state, one) for state in place]
    cells = "".join(digit[symbol] for symbol in tape) or "0"
    return _program().layout("0,", ";" + ",".join(rows), "," + cells[::-1])


def decode(trace: Trace, machine: TuringMachine) -> Simulated:
    """What the universal machine, halted, has on its tape: the simulated machine, halted as well.

    Args:
      trace: of `universal_machine`.
      machine: the one that was encoded, whose names are to be given back.
    """
    text = "".join(trace.tape).translate(str.maketrans("ab", "01"))
    # The bottom of the left stack, and a comma for each row up to the head's.
    row = text[: trace.head - trace.tape_start + 1].count(",") - 2
    symbols = (machine.blank, next((s for s in machine.alphabet if s != machine.blank), ""))

    def stack(cells: str) -> tuple[str, ...]:
        return tuple(symbols[int(digit)] for digit in cells.strip("_").rstrip("0"))

    left, right = text[: text.index(",")], text[text.rindex(",") + 1 :]
    return Simulated(machine.states[row], stack(left.strip("_")), stack(right.strip("_")[::-1]))
