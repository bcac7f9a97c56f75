"""Tokens of one Turing machine on a ring of cells: each of its rules at each cell.

Letters: K working states (A, B, ...; Z is any state without rules), S symbols, C cells.

    <start> [0]=1 [1]=1 <go> A1:1LB@0 B0:1LA@-1 A0:1RB@-2 B1:1RZ@-1 <end>

A cell says what stands in it. A step says the state, the symbol read, what the rule says then, and
the cell where all that happened; three dashes say that there is no rule. <end> follows those, or a
step into Z.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from constructions.fields import namespace, sequence
from constructions.programs.turing import Trace, TuringMachine
from constructions.stock_vocabulary import (
    CONTROL,
    MOVES,
    answer_from,
    own_actions,
    places,
    token_range,
    until_end,
)
from constructions.token_names import TokenNames
from constructions.vocabulary import END, GO, START, Vocabulary


@dataclass(frozen=True)
class SingleVocabulary(TokenNames):
    """Tokens of one machine.

    Args:
      machine: of up to 25 working states and 10 symbols.
      bits: C = 2^bits, 2 to 12.

    >>> machine = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ")
    >>> vocabulary = SingleVocabulary(machine, bits=3)
    >>> vocabulary.size, vocabulary.words[vocabulary.step[1, 0, 7]]
    (51, 'B0:1LA@-1')
    >>> vocabulary.text(vocabulary.transcribe(machine.run("11", 9)))
    'A1:1LB@0 B0:1LA@-1 A0:1RB@-2 B1:1RZ@-1 <end>'
    """

    machine: TuringMachine
    bits: int

    def __post_init__(self) -> None:
        if not (self.states <= 25 and self.symbols <= 10 and 2 <= self.bits <= 12):
            raise ValueError(
                "machine size: expected up to 25 states, up to 10 symbols and 2 to 12 bits, got "
                f"{self.states}, {self.symbols} and {self.bits}"
            )

    @property
    def states(self) -> int:
        """K."""
        return len({self.machine.start, *self.machine.working})

    @property
    def symbols(self) -> int:
        """S, at least 2."""
        return max(2, len(self.machine.alphabet))

    @property
    def cells(self) -> int:
        """C."""
        return 2**self.bits

    @property
    def longest_prompt(self) -> int:
        """Tokens of a prompt with all cells."""
        return 2 + self.cells

    @cached_property
    def plain(self) -> Vocabulary:
        """The vocabulary whose tokens name no cells."""
        return Vocabulary(self.states, self.symbols)

    @cached_property
    def actions(self) -> np.ndarray:
        """The rules, int [K, S, 3]: next state (-1: no rule), symbol written, move."""
        return self.plain.actions(self.machine)[: self.states]

    @cached_property
    def cell(self) -> np.ndarray:
        """The cell tokens, int [C, S], by address and symbol."""
        return token_range(len(CONTROL), (self.cells, self.symbols))

    @cached_property
    def step(self) -> np.ndarray:
        """The steps, int [K, S, C]: state, symbol read, cell; those without a rule too."""
        return token_range(int(self.cell[-1, -1]) + 1, (self.states, self.symbols, self.cells))

    @property
    def size(self) -> int:
        """Tokens in all."""
        return len(CONTROL) + self.cells * self.symbols * (self.states + 1)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The name of every token; all differ, and none has a blank in it."""
        place = places(self.cells)
        state = [chr(ord("A") + q) for q in range(self.states)] + ["Z"]

        def rule(q: int, a: int) -> str:
            after, written, move = self.actions[q, a]
            return "---" if after < 0 else f"{written}{MOVES[move + 1]}{state[after]}"

        cells = [f"[{place[c]}]={a}" for c, a in np.ndindex(self.cell.shape)]
        steps = [
            f"{state[q]}{a}:{rule(q, a)}@{place[c]}" for q, a, c in np.ndindex(self.step.shape)
        ]
        return (*CONTROL, *cells, *steps)

    @property
    def example(self) -> str:
        """Names of tokens, and how many there are."""
        return f"<start>, [0]=1 or {self.words[self.step[0, 0, 1]]} ({self.cells} cells)"

    def data(self, machine: TuringMachine, tape: Any) -> dict[str, np.ndarray]:
        """The arguments of `fill`.

        Raises:
          ValueError: another machine than that of the vocabulary, or a symbol that it lacks.
        """
        own = own_actions(self.plain, self.machine)
        if machine is not self.machine and not np.array_equal(
            own, own_actions(self.plain, machine)
        ):
            raise ValueError(
                f"machine: expected {self.machine.name!r}, which the weights hold, got "
                f"{machine.name!r}"
            )
        return {"tape": machine.encode_tape(tape)}

    def fill(self, *, tape: Any) -> Any:
        """A prompt: START, the tape, GO: int32 [tokens].

        Args:
          tape: symbol codes, integers [cells] (`TuringMachine.encode_tape`).
        """
        xp = namespace(tape)
        address = np.arange(len(tape)) % self.cells
        cells = len(CONTROL) + address * self.symbols + xp.asarray(tape, dtype=np.int32)
        return sequence([START], cells, [GO])

    def named(self, address: np.ndarray, symbol: np.ndarray) -> np.ndarray:
        """The tokens of a prompt that say what stands in these cells, int [n]."""
        return self.cell[address, symbol]

    def writes(self, tokens: np.ndarray) -> np.ndarray:
        """Every write to a cell: int [n, 5], in the order of the tokens.

        Columns: the token that completes it, the address, the symbol written; of a step the next
        state and the address where the head then is, of a cell of the prompt -1 for both.
        """
        first, step = self.cell[0, 0], self.step[0, 0, 0]
        index = np.flatnonzero(tokens >= first)
        is_step = tokens[index] >= step
        address, symbol = np.divmod(tokens[index] - first, self.symbols)
        rule, place = np.divmod(np.where(is_step, tokens[index] - step, 0), self.cells)
        after, written, move = self.actions.reshape(-1, 3)[rule].T
        address, symbol = np.where(is_step, place, address), np.where(is_step, written, symbol)
        head = np.where(is_step, (place + move) % self.cells, -1)
        found = np.stack([index, address, symbol, np.where(is_step, after, -1), head], axis=1)
        return found[~is_step | (after >= 0)]

    def parts(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What stands between <start> and <go>: no rules, int [0, 1]; cells, symbols.

        Cells and symbols are integers [m], address and code of each cell that is named.

        Raises:
          ValueError: a token that is no cell.
        """
        wrong = (tokens < self.cell[0, 0]) | (tokens > self.cell[-1, -1])
        if wrong.any():
            raise ValueError(f"expected cells such as [0]=1, got {self.text(tokens[wrong][:1])}")
        address, symbol = np.divmod(tokens - self.cell[0, 0], self.symbols)
        return np.zeros((0, 1), int), address, symbol

    def transcribe(self, trace: Trace) -> np.ndarray:
        """The tokens of a trace's recorded steps, then END if it has halted: int32 [tokens].

        A run that ends where no rule applies has one more step, which says so.
        """
        place = trace.position % self.cells
        steps = self.step[trace.state_read, trace.symbol_read, place].astype(np.int32)
        if not trace.halted:
            return steps
        state = trace.machine.states.index(trace.state)
        symbol = trace.cells[trace.head - trace.tape_start]
        last = [self.step[state, symbol, trace.head % self.cells]] if state < self.states else []
        return np.concatenate([steps, [*last, END]]).astype(np.int32)

    def answer(self, tokens: Any) -> dict[str, Any]:
        """The answer that a whole run's tokens describe, as `Transcript.answer` gives it.

        Raises:
          ValueError: not a vector of tokens of this vocabulary.
        """
        tokens, ended = until_end(tokens, self.size)
        given = tokens[(tokens >= self.cell[0, 0]) & (tokens <= self.cell[-1, -1])]
        address, symbol = np.divmod(given - self.cell[0, 0], self.symbols)
        rule = (tokens[tokens >= self.step[0, 0, 0]] - self.step[0, 0, 0]) // self.cells
        read = rule % self.symbols
        after, written, move = self.actions.reshape(-1, 3)[rule].T
        index = np.ravel_multi_index(
            np.stack([after, written, move + 1, read])[:, after >= 0], self.plain.step.shape
        )
        return answer_from(self.plain, address, symbol, index, ended=ended)
