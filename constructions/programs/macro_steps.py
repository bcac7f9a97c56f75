"""Macro steps: the interpreter's inner loop over integer codes."""

from __future__ import annotations

from array import array
from itertools import accumulate

import numpy as np

_BLOCK = 64  # cells in a block of the tape
_CHUNK = 1024  # steps in the longest visit that is remembered
_MEMORY = 1 << 14  # visits remembered, at most

# steps, block after, row after, place after, lowest and highest place read, halted, rule codes
_Visit = tuple[int, bytes, int, int, int, int, bool, bytes]


class MacroSteps:
    """A table of rules at work on a tape that is cut into blocks.

    What happens from the moment the head enters a block until it leaves it depends only on the
    block's symbols, the state and the head's place in it. So that visit is remembered, and replayed
    as one macro step. A visit is cut at `_CHUNK` steps, hence loops inside a block replay too.

    Args:
      rules: by rule code q S + a, next state (-1: no rule), symbol written, move; int [Q S, 3].
      width: S.
      cells: symbol codes of cell 0 and on, uint8 [n]; all other cells hold 0.

    Attributes:
      state, head, steps, halted: where the machine stands; `halted` is known after `advance`.
      low, high: the first and the last cell that the head has stood on.

    Source: Marxen and Buntrock, Attacking the Busy Beaver 5, Bulletin of the EATCS 40 (1990).
    """

    def __init__(self, rules: np.ndarray, width: int, cells: np.ndarray) -> None:
        self._width = width
        # A state is held as the code of its row's first rule; -1 stays negative.
        self._row_after = (rules[:, 0] * width).tolist()
        self._written = rules[:, 1].tolist()
        self._move = rules[:, 2].tolist()
        self._dtype = np.min_scalar_type(len(rules) - 1)
        self._row = 0
        self._visits: dict[tuple[bytes, int, int], _Visit] = {}
        text = cells.astype(np.uint8).tobytes() + bytes(-len(cells) % _BLOCK)
        self._blocks = {i // _BLOCK: text[i : i + _BLOCK] for i in range(0, len(text), _BLOCK)}
        self._blank = bytes(_BLOCK)
        self.head = self.steps = self.low = self.high = 0
        self.halted = False

    @property
    def state(self) -> int:
        """The present state's code."""
        return self._row // self._width

    def advance(self, limit: int, *, record: bool) -> np.ndarray:
        """Runs up to `limit` steps in all, or to the halt.

        Returns:
          The rule codes of the steps made, unsigned [n]; empty without `record`.
        """
        visits, blocks, blank = self._visits, self._blocks, self._blank
        row, steps, low, high, halted = self._row, self.steps, self.low, self.high, False
        block, place = divmod(self.head, _BLOCK)
        records: list[bytes] = []
        while steps < limit and not halted:
            before = blocks.get(block, blank)
            key = (before, row, place)
            visit = visits.get(key)
            if visit is None:
                if len(visits) >= _MEMORY:
                    visits.clear()
                visit = visits[key] = self._visit(before, row, place, _CHUNK)
            if steps + visit[0] > limit:
                visit = self._visit(before, row, place, limit - steps)
            count, after, row, place, lowest, highest, halted, codes = visit
            steps += count
            if record:
                records.append(codes)
            blocks[block] = after
            base = block * _BLOCK
            low = min(low, base + lowest)
            high = max(high, base + highest)
            if place == _BLOCK:
                block, place = block + 1, 0
            elif place < 0:
                block, place = block - 1, _BLOCK - 1
        self._row, self.steps, self.head = row, steps, block * _BLOCK + place
        self.low, self.high = min(low, self.head), max(high, self.head)
        # A run stopped at its limit has halted if no rule applies to what the head stands on.
        self.halted = self._row_after[row + blocks.get(block, blank)[place]] < 0
        return np.frombuffer(b"".join(records), self._dtype)

    def span(self) -> np.ndarray:
        """Symbol codes of the cells from `low` to `high`, uint8 [high - low + 1]."""
        first, last = self.low // _BLOCK, self.high // _BLOCK
        text = b"".join(self._blocks.get(i, self._blank) for i in range(first, last + 1))
        offset = first * _BLOCK
        return np.frombuffer(text, np.uint8)[self.low - offset : self.high - offset + 1]

    def _visit(self, before: bytes, row: int, place: int, budget: int) -> _Visit:
        """Runs inside one block until the head leaves it, the machine halts, or budget steps."""
        row_after, written, move = self._row_after, self._written, self._move
        cells, start, halted = bytearray(before), place, False
        codes: list[int] = []
        append = codes.append
        for _ in range(budget):
            code = row + cells[place]
            after = row_after[code]
            if after < 0:
                halted = True
                break
            cells[place] = written[code]
            place += move[code]
            row = after
            append(code)
            if not 0 <= place < _BLOCK:
                break
        read = list(accumulate(map(move.__getitem__, codes[:-1]), initial=start))
        record = array(self._dtype.char, codes).tobytes()
        return len(codes), bytes(cells), row, place, min(read), max(read), halted, record
