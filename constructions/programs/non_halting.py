"""Cyclers and translated cyclers: machines that never halt, with a certificate that is checked.

A certificate is two steps i < j and a shift k. Let the head, from step i until before step j, read
the cells from a to b as counted from where it stands at step i. The machine never halts if

    1. it is in the same state at steps i and j, and the head stands k cells further on;
    2. the cells a to b around the head are the same at both;
    3. if k > 0, all cells beyond b are blank at step i; if k < 0, all before a are.

Proof. From step j on the machine reads what it read from step i on, by 1 and 2, so it makes the
same moves until step 2j - i, and does not halt before. Then 1 holds of j and 2j - i. So does 2: of
the cells a to b around the new head, those that it read have become what they had become at step j;
any others were not read between steps j and 2j - i, lie beyond b (before a) around the head of step
j, hence beyond b around that of step i, and are blank like their likes by 3. And 3 holds of step j:
what lies beyond b around its head lies beyond b around that of step i, and was not written since.
By induction this goes on for ever. QED

With k = 0 it is a cycler, otherwise a translated one (a machine of Lin's recurrence).

Source: S. Lin and T. Rado, Computer studies of Turing machine problems, J. ACM 12 (1965).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from constructions.programs.turing import TuringMachine

STEPS = 1 << 16  # looked at for a recurrence


@dataclass(frozen=True)
class Recurrence:
    """The certificate: what happens from step i on happens from step j on, k cells further.

    Attributes:
      start: i.
      again: j.
      shift: k; 0 for a cycler.
    """

    start: int
    again: int
    shift: int

    def holds(self, machine: TuringMachine, tape: Iterable[str]) -> bool:
        """Whether the three conditions hold: the machine is run again, step by step.

        >>> machine = TuringMachine.from_bbchallenge("1RB0LA_0LA1RB")
        >>> found = find_recurrence(machine, "")
        >>> found, found.holds(machine, ""), Recurrence(0, 1, 1).holds(machine, "")
        (Recurrence(start=4, again=7, shift=-1), True, False)
        """
        codes = enumerate(machine.encode_tape(tape).tolist())
        cells = {i: machine.alphabet[code] for i, code in codes if code}
        state, head, earlier = machine.start, 0, (machine.start, 0, dict(cells))
        read: list[int] = []
        for step in range(self.again):
            if step == self.start:
                earlier = state, head, dict(cells)
            rule = machine.delta.get((state, cells.get(head, machine.blank)))
            if rule is None:
                return False
            if step >= self.start:
                read.append(head)
            state, cells[head], move = rule
            head += move
        if not read or (state, head) != (earlier[0], earlier[1] + self.shift):
            return False
        low, high = min(read), max(read)
        blank, before = machine.blank, earlier[2]
        beyond = (
            symbol != blank
            for cell, symbol in before.items()
            if (self.shift > 0 and cell > high) or (self.shift < 0 and cell < low)
        )
        return not any(beyond) and all(
            before.get(cell, blank) == cells.get(cell + self.shift, blank)
            for cell in range(low, high + 1)
        )


def find_recurrence(
    machine: TuringMachine, tape: Iterable[str], *, steps: int = STEPS
) -> Recurrence | None:
    """A recurrence within so many steps, or None: the machine halts, goes on, or differs.

    The machine is compared with itself at the last step that is a power of two (Brent's method), so
    one that begins by step n / 3 and has a period of at most n / 3 is found.

    >>> find_recurrence(TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ"), "") is None
    True
    """
    rules = machine.rules.tolist()
    width = len(machine.alphabet)
    codes = machine.encode_tape(tape).tobytes()
    room = steps + len(codes) + 2
    cells = bytearray(room) + codes + bytes(room)
    state, head = 0, room
    left, right = room, room + len(codes)  # outside these all cells are blank
    then = state, head, bytes(cells), left, right
    start, low, high = 0, head, head
    for step in range(1, steps + 1):
        after, written, move = rules[state * width + cells[head]]
        if after < 0:
            return None
        low, high = min(low, head), max(high, head)
        cells[head] = written
        state, head = after, head + move
        left, right = min(left, head), max(right, head + 1)
        if state == then[0] and cells[head] == then[2][then[1]]:
            shift = head - then[1]
            # From the window's near end to where all is blank at both steps.
            first = low if shift >= 0 else min(then[3], left - shift)
            last = high + 1 if shift <= 0 else max(then[4], right - shift)
            if then[2][first:last] == cells[first + shift : last + shift]:
                return Recurrence(start, step, shift)
        if step & (step - 1) == 0:
            then = state, head, bytes(cells), left, right
            start, low, high = step, head, head
    return None
