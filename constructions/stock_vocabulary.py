"""Tokens that read as they are meant: rules, cells and steps of a Turing machine on a ring.

Letters: K working states (A, B, ...; Z is any state without rules), S symbols (0, 1, ...), C cells.

    <start> A0:1RB A1:1LB B0:1LA B1:1RZ [0]=1 <go> 1>1LB@-1 ...

A rule says state, symbol read, and what then: symbol written, move (L, S or R), next state; three
dashes say that there is none. A cell says what stands in it. A step says the symbol read, what the
rule says, and the cell where the head now is. <end> says that no rule applies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from constructions.fields import namespace, sequence
from constructions.programs.turing import Trace, TuringMachine
from constructions.token_names import TokenNames
from constructions.vocabulary import END, GO, START, Vocabulary, answer_of

MOVES = "LSR"
CONTROL = ("<start>", "<go>", "<end>")


@dataclass(frozen=True)
class StockVocabulary(TokenNames):
    """Tokens of all machines of at most this size, on a ring of cells.

    Cell c of a tape is cell c modulo C of the ring, and named by what is nearest to 0: a run that
    stays within C cells cannot tell one from the other.

    Args:
      states: K, the most working states, at most 25.
      symbols: S, 2 to 10.
      bits: C = 2^bits, 2 to 12; every cell has tokens of its own.

    >>> vocabulary = StockVocabulary(states=2, symbols=2, bits=4)
    >>> vocabulary.size, vocabulary.words[vocabulary.step[1, 1, 2, 0, 3]]
    (687, '0>1RB@3')
    >>> vocabulary.read("<start> A0:1RB").tolist()
    [0, 50]
    """

    states: int
    symbols: int
    bits: int

    def __post_init__(self) -> None:
        if not (1 <= self.states <= 25 and 2 <= self.symbols <= 10 and 2 <= self.bits <= 12):
            raise ValueError(
                "machine size: expected 1 to 25 states, 2 to 10 symbols and 2 to 12 bits, got "
                f"{self.states}, {self.symbols} and {self.bits}"
            )

    @property
    def cells(self) -> int:
        """C."""
        return 2**self.bits

    @property
    def longest_prompt(self) -> int:
        """Tokens of a prompt with all rules and all cells."""
        return 2 + self.states * self.symbols + self.cells

    @cached_property
    def plain(self) -> Vocabulary:
        """The vocabulary whose tokens name no cells."""
        return Vocabulary(self.states, self.symbols)

    @cached_property
    def cell(self) -> np.ndarray:
        """The cell tokens, int [C, S], by address and symbol."""
        return token_range(len(CONTROL), (self.cells, self.symbols))

    @cached_property
    def no_rule(self) -> np.ndarray:
        """The tokens of missing rules, int [K, S], by state and symbol read."""
        return token_range(int(self.cell[-1, -1]) + 1, (self.states, self.symbols))

    @cached_property
    def rule(self) -> np.ndarray:
        """The rule tokens, int [K, S, K + 1, S, 3]: state, read, next state, written, move + 1."""
        shape = (self.states, self.symbols, self.states + 1, self.symbols, 3)
        return token_range(int(self.no_rule[-1, -1]) + 1, shape)

    @cached_property
    def step(self) -> np.ndarray:
        """The step tokens, int [K + 1, S, 3, S, C]: next state, written, move + 1, read, cell."""
        shape = (self.states + 1, self.symbols, 3, self.symbols, self.cells)
        return token_range(int(self.rule.flat[-1]) + 1, shape)

    @property
    def size(self) -> int:
        """Tokens in all; `step` would take memory."""
        steps = (self.states + 1) * self.symbols**2 * 3 * self.cells
        return int(self.rule.flat[-1]) + 1 + steps

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The name of every token; all differ, and none has a blank in it."""
        place = places(self.cells)
        state = [chr(ord("A") + q) for q in range(self.states)] + ["Z"]
        cells = [f"[{place[c]}]={a}" for c, a in np.ndindex(self.cell.shape)]
        missing = [f"{state[q]}{a}:---" for q, a in np.ndindex(self.no_rule.shape)]
        rules = [
            f"{state[q]}{a}:{w}{MOVES[d]}{state[p]}"
            for q, a, p, w, d in np.ndindex(self.rule.shape)
        ]
        steps = [
            f"{a}>{w}{MOVES[d]}{state[p]}@{place[c]}"
            for p, w, d, a, c in np.ndindex(self.step.shape)
        ]
        return (*CONTROL, *cells, *missing, *rules, *steps)

    @property
    def example(self) -> str:
        """Names of tokens, and how many there are."""
        size = f"{self.states} states, {self.symbols} symbols, {self.cells} cells"
        return f"<start>, A0:1RB, [0]=1 or 0>1RB@1 (up to {size})"

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
        K, S = self.states, self.symbols
        k, s, _ = actions.shape
        q, a = np.arange(k)[:, None], np.arange(s)[None, :]
        after, written, move = (actions[..., i] for i in range(3))
        rule = int(self.rule[0, 0, 0, 0, 0]) + (
            (((q * S + a) * (K + 1) + after) * S + written) * 3 + move + 1
        )
        missing = int(self.no_rule[0, 0]) + q * S + a
        rules = xp.where(after < 0, missing, rule).reshape(-1)
        address = np.arange(len(tape)) % self.cells
        cells = int(self.cell[0, 0]) + address * S + xp.asarray(tape, dtype=np.int32)
        return sequence([START], rules, cells, [GO])

    def named(self, address: np.ndarray, symbol: np.ndarray) -> np.ndarray:
        """The tokens of a prompt that say what stands in these cells, int [n]."""
        return self.cell[address, symbol]

    def writes(self, tokens: np.ndarray) -> np.ndarray:
        """Every write to a cell: int [n, 5], in the order of the tokens.

        Columns: the token that completes it, the address, the symbol written; of a step the next
        state and the address where the head then is, of a cell of the prompt -1 for both.
        """
        first, step = self.cell[0, 0], self.step.flat[0]
        index = np.flatnonzero((tokens >= step) | (tokens >= first) & (tokens <= self.cell[-1, -1]))
        address, symbol = np.divmod(tokens[index] - first, self.symbols)
        state = head = np.full(len(index), -1)
        is_step = tokens[index] >= step
        code = np.where(is_step, tokens[index] - step, 0)
        after, written, move, _, place = np.unravel_index(code, self.step.shape)
        address = np.where(is_step, (place - move + 1) % self.cells, address)
        symbol = np.where(is_step, written, symbol)
        state, head = np.where(is_step, after, state), np.where(is_step, place, head)
        return np.stack([index, address, symbol, state, head], axis=1)

    def parts(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What stands between <start> and <go>: rules that are there, int [n, 1]; cells, symbols.

        Cells and symbols are integers [m], address and code of each cell that is named.
        """
        first, last = self.cell[0, 0], self.cell[-1, -1]
        is_cell = (tokens >= first) & (tokens <= last)
        rules = np.setdiff1d(tokens[~is_cell], self.no_rule)
        address, symbol = np.divmod(tokens[is_cell] - first, self.symbols)
        return rules[:, None], address, symbol

    def transcribe(self, trace: Trace) -> np.ndarray:
        """The tokens of a trace's recorded steps, then END if it has halted: int32 [tokens]."""
        table = self.actions(trace.machine).reshape(-1, 3)[trace.codes]
        after, written, move = table.T
        address = (trace.position + move) % self.cells
        steps = self.step[after, written, move + 1, trace.symbol_read, address].astype(np.int32)
        return np.append(steps, np.int32(END)) if trace.halted else steps

    def answer(self, tokens: Any) -> dict[str, Any]:
        """The answer that a whole run's tokens describe, as `Transcript.answer` gives it.

        Raises:
          ValueError: not a vector of tokens of this vocabulary.
        """
        tokens, ended = until_end(tokens, self.size)
        first = self.cell[0, 0]
        given = tokens[(tokens >= first) & (tokens <= self.cell[-1, -1])] - first
        address, symbol = np.divmod(given, self.symbols)
        first = self.step.flat[0]
        steps = (tokens[tokens >= first] - first) // self.cells
        return answer_from(self.plain, address, symbol, steps, ended=ended)


def places(cells: int) -> list[int]:
    """The name of each cell of a ring: the number nearest to 0 that is the cell's modulo C.

    >>> places(4)
    [0, 1, -2, -1]
    """
    return [(c + cells // 2) % cells - cells // 2 for c in range(cells)]


def own_actions(plain: Vocabulary, machine: TuringMachine) -> np.ndarray:
    """The rules of the machine's own states and symbols, int [k, s, 3], as `Vocabulary` says."""
    working = len({machine.start, *machine.working})
    return plain.actions(machine)[:working, : len(machine.alphabet)]


def until_end(tokens: Any, size: int) -> tuple[np.ndarray, bool]:
    """The tokens before END, and whether there is one.

    Raises:
      ValueError: not a vector of tokens below ``size``.
    """
    tokens = np.asarray(tokens)
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise ValueError(f"tokens: expected integers [T], got {tokens.dtype} {tokens.shape}")
    if tokens.size and not 0 <= tokens.min() <= tokens.max() < size:
        raise ValueError(f"tokens: expected 0 to {size - 1}, got {tokens.min()}..{tokens.max()}")
    ends = np.flatnonzero(tokens == END)[:1]
    return (tokens[: ends[0]], True) if len(ends) else (tokens, False)


def answer_from(
    plain: Vocabulary, address: np.ndarray, symbol: np.ndarray, steps: np.ndarray, *, ended: bool
) -> dict[str, Any]:
    """The answer of a run, as `Transcript.answer` gives it.

    Args:
      plain: the vocabulary without cells.
      address, symbol: of each cell that the prompt names, integers [n].
      steps: indices into ``plain.step``, flat, integers [T].
      ended: whether the run has.
    """
    tape = np.zeros(address.max(initial=-1) + 1, np.int64)
    tape[address] = symbol
    steps, end = plain.step.flat[0] + steps, [END] * ended
    return answer_of(plain, sequence([START], plain.tape[tape], [GO], steps, end))


def token_range(start: int, shape: tuple[int, ...]) -> np.ndarray:
    """Tokens from ``start`` on, in an array of that shape."""
    return np.arange(start, start + int(np.prod(shape))).reshape(shape)
