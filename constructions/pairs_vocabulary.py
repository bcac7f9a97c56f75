"""Tokens of Turing machines in pairs: a vocabulary that grows as states plus cells, not as both.

Letters: K working states (0, 1, ...; Z is any state without rules), S symbols, C cells on a ring.

    <start> q0,0: 1Rq1 q0,1: 1Lq1 q1,0: 1Lq0 q1,1: 1RZ @0 =1 <go> @0 1>1Lq1 @-1 ...

A rule is a key, the state and the symbol read, and an action: symbol written, move (L, S or R),
next state; three dashes say that there is none. A cell of the tape is its place and the symbol that
stands there. A step is the place where the head is, then the symbol read and the action; <end>
stands for a step where no rule applies.
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
class PairsVocabulary(TokenNames):
    """Tokens of all machines of at most this size, on a ring of cells.

    Args:
      states: K, the most working states, at most 255.
      symbols: S, 2 to 10.
      bits: C = 2^bits, 3 to 16.

    >>> vocabulary = PairsVocabulary(states=128, symbols=8, bits=10)
    >>> vocabulary.size, vocabulary.words[vocabulary.step[1, 1, 2, 0]]
    (29924, '0>1Rq1')
    >>> vocabulary.read("<start> @-1 =0").tolist()
    [0, 29923, 3]
    """

    states: int
    symbols: int
    bits: int

    def __post_init__(self) -> None:
        if not (1 <= self.states <= 255 and 2 <= self.symbols <= 10 and 3 <= self.bits <= 16):
            raise ValueError(
                "machine size: expected 1 to 255 states, 2 to 10 symbols and 3 to 16 bits, got "
                f"{self.states}, {self.symbols} and {self.bits}"
            )

    @property
    def cells(self) -> int:
        """C."""
        return 2**self.bits

    @property
    def state_bits(self) -> int:
        """Bits that hold a state code, 0 to K."""
        return self.states.bit_length()

    @property
    def longest_prompt(self) -> int:
        """Tokens of a prompt with all rules and all cells."""
        return 2 + 2 * self.states * self.symbols + 2 * self.cells

    @cached_property
    def plain(self) -> Vocabulary:
        """The vocabulary whose tokens name no cells."""
        return Vocabulary(self.states, self.symbols)

    @cached_property
    def symbol(self) -> np.ndarray:
        """What stands in a cell, int [S]."""
        return token_range(len(CONTROL), (self.symbols,))

    @cached_property
    def key(self) -> np.ndarray:
        """Whom a rule is for, int [K, S]."""
        return token_range(int(self.symbol[-1]) + 1, (self.states, self.symbols))

    @property
    def no_action(self) -> int:
        """The action of a missing rule."""
        return int(self.key[-1, -1]) + 1

    @cached_property
    def action(self) -> np.ndarray:
        """What a rule does, int [K + 1, S, 3]: next state, symbol written, move + 1."""
        return token_range(self.no_action + 1, (self.states + 1, self.symbols, 3))

    @cached_property
    def step(self) -> np.ndarray:
        """The steps, int [K + 1, S, 3, S]: an action and the symbol read."""
        shape = (self.states + 1, self.symbols, 3, self.symbols)
        return token_range(int(self.action.flat[-1]) + 1, shape)

    @cached_property
    def cell(self) -> np.ndarray:
        """The places, int [C], by address."""
        return token_range(int(self.step.flat[-1]) + 1, (self.cells,))

    @property
    def size(self) -> int:
        """Tokens in all."""
        return int(self.cell[-1]) + 1

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The name of every token; all differ, and none has a blank in it."""
        state = [f"q{q}" for q in range(self.states)] + ["Z"]
        symbols = [f"={a}" for a in range(self.symbols)]
        keys = [f"{state[q]},{a}:" for q, a in np.ndindex(self.key.shape)]
        actions = [f"{w}{MOVES[d]}{state[p]}" for p, w, d in np.ndindex(self.action.shape)]
        steps = [f"{a}>{w}{MOVES[d]}{state[p]}" for p, w, d, a in np.ndindex(self.step.shape)]
        cells = [f"@{c}" for c in places(self.cells)]
        return (*CONTROL, *symbols, *keys, "---", *actions, *steps, *cells)

    @property
    def example(self) -> str:
        """Names of tokens, and how many there are."""
        size = f"{self.states} states, {self.symbols} symbols, {self.cells} cells"
        return f"<start>, q0,0:, 1Rq1, @0 or =1 (up to {size})"

    def actions(self, machine: TuringMachine) -> np.ndarray:
        """The rules of the machine's own states and symbols, int [k, s, 3], as `Vocabulary` says.

        Raises:
          ValueError: more working states or symbols than fit.
        """
        return own_actions(self.plain, machine)

    def data(self, machine: TuringMachine, tape: Any) -> dict[str, np.ndarray]:
        """The arguments of `fill`.

        Raises:
          ValueError: more working states or symbols than fit, or a symbol that the machine lacks.
        """
        return {"actions": self.actions(machine), "tape": machine.encode_tape(tape)}

    def fill(self, *, actions: Any, tape: Any) -> Any:
        """A prompt: START, the rules, the tape, GO: int32 [tokens].

        Args:
          actions: `actions` of a machine, integers [k, s, 3].
          tape: symbol codes, integers [cells] (`TuringMachine.encode_tape`).
        """
        xp = namespace(actions, tape)
        k, s, _ = actions.shape
        after, written, move = (actions[..., i] for i in range(3))
        action = int(self.action[0, 0, 0]) + (after * self.symbols + written) * 3 + move + 1
        action = xp.where(after < 0, self.no_action, action)
        rules = xp.stack([xp.asarray(self.key[:k, :s]), action], axis=-1).reshape(-1)
        address = int(self.cell[0]) + np.arange(len(tape)) % self.cells
        symbol = int(self.symbol[0]) + xp.asarray(tape, dtype=np.int32)
        cells = xp.stack([xp.asarray(address), symbol], axis=-1).reshape(-1)
        return sequence([START], rules, cells, [GO])

    def named(self, address: np.ndarray, symbol: np.ndarray) -> np.ndarray:
        """The tokens of a prompt that say what stands in these cells, int [2 n]."""
        return np.stack([self.cell[address], self.symbol[symbol]], axis=1).reshape(-1)

    def writes(self, tokens: np.ndarray) -> np.ndarray:
        """Every write to a cell: int [n, 5], in the order of the tokens.

        Columns: the token that completes it, the address, the symbol written; of a step the next
        state and the address where the head then is, of a cell of the prompt -1 for both.
        """
        first, step = self.symbol[0], self.step.flat[0]
        is_step = (tokens >= step) & (tokens < self.cell[0])
        index = np.flatnonzero(is_step | (tokens >= first) & (tokens <= self.symbol[-1]))
        index = index[(index > 0) & (tokens[index - 1] >= self.cell[0])]
        address, is_step = tokens[index - 1] - self.cell[0], is_step[index]
        code = np.where(is_step, tokens[index] - step, 0)
        after, written, move, _ = np.unravel_index(code, self.step.shape)
        symbol = np.where(is_step, written, tokens[index] - first)
        state = np.where(is_step, after, -1)
        head = np.where(is_step, (address + move - 1) % self.cells, -1)
        return np.stack([index, address, symbol, state, head], axis=1)

    def parts(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What stands between <start> and <go>: rules that are there, int [n, 2]; cells, symbols.

        Cells and symbols are integers [m], address and code of each cell that is named.

        Raises:
          ValueError: tokens that are not in pairs of a key and an action, a cell and a symbol.
        """
        pairs = tokens[: len(tokens) // 2 * 2].reshape(-1, 2)
        one, other = pairs.T
        is_rule = (one >= self.key[0, 0]) & (one <= self.key[-1, -1])
        is_rule &= (other >= self.no_action) & (other <= self.action.flat[-1])
        is_cell = (one >= self.cell[0]) & (other >= self.symbol[0]) & (other <= self.symbol[-1])
        wrong = np.flatnonzero(~(is_rule | is_cell))
        if len(tokens) % 2 or len(wrong):
            got = self.text(pairs[wrong[0]] if len(wrong) else tokens[-1:])
            raise ValueError(f"expected pairs such as q0,0: 1Rq1 or @0 =1, got {got}")
        rules = pairs[is_rule & (other != self.no_action)]
        return rules, one[is_cell] - self.cell[0], other[is_cell] - self.symbol[0]

    def transcribe(self, trace: Trace) -> np.ndarray:
        """The tokens of a trace's recorded steps, then END if it has halted: int32 [tokens].

        The place where the head stands comes first, and behind each step.
        """
        table = self.actions(trace.machine).reshape(-1, 3)[trace.codes]
        after, written, move = table.T
        steps = self.step[after, written, move + 1, trace.symbol_read]
        tokens = np.empty(2 * len(steps) + 1, np.int32)
        start = trace.head - move.sum()
        tokens[0] = self.cell[start % self.cells]
        tokens[1::2] = steps
        tokens[2::2] = self.cell[(trace.position + move) % self.cells]
        return np.append(tokens, np.int32(END)) if trace.halted else tokens

    def answer(self, tokens: Any) -> dict[str, Any]:
        """The answer that a whole run's tokens describe, as `Transcript.answer` gives it.

        Raises:
          ValueError: not a vector of tokens of this vocabulary, or a symbol that has no place.
        """
        tokens, ended = until_end(tokens, self.size)
        given = np.flatnonzero((tokens >= self.symbol[0]) & (tokens <= self.symbol[-1]))
        address = tokens[given - 1] - self.cell[0]
        if (given == 0).any() or (address < 0).any():
            raise ValueError("tokens: expected a place before each symbol of the tape, got none")
        steps = tokens[(tokens >= self.step.flat[0]) & (tokens < self.cell[0])] - self.step.flat[0]
        symbol = tokens[given] - self.symbol[0]
        return answer_from(self.plain, address, symbol, steps, ended=ended)
