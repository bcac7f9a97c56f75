"""Programs as stock Llamas: causal ones, tokens in and tokens out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from constructions.construction import Construction
from constructions.fields import TokenRanges
from constructions.rasp.compiler import lowered, posed
from constructions.rasp.expressions import SOp
from constructions.rasp.named_programs import entry_of
from constructions.rasp.stock_bounding import certify, offset_for
from constructions.rasp.stock_writing import StockLowering, plan
from constructions.rasp.values import Value, plain

PROOF = (
    "A ballast makes the norm the identity and is the constant 1; a theta of 1e38 lets heads stand "
    "still. A head's score is the number of conditions that a key meets, times the scale. The "
    "index is read off the weight of the start token, 1 / (2 + index), in a head that sees all "
    "alike. Two silu units are a clip, off by the rounding of their distance. Categorical slices "
    "lie an offset above what they hold, so that adding to them rounds to exact zeros and ones."
)


START = object()  # no value of any program


@dataclass(frozen=True)
class ProgramTokens(TokenRanges):
    """Tokens of a program: letters, the start token, values that are no letters.

    Args:
      names: a word for each.
    """

    names: tuple[str, ...] = field(kw_only=True)

    @property
    def words(self) -> tuple[str, ...]:
        """A word for each token."""
        return self.names


def compile_stock(
    program: SOp, *, length: int, alphabet: int | Sequence[Value], name: str | None = None
) -> Construction:
    """A stock Llama that computes the program, causally, on every input of that length or less.

    The greedy token behind each prefix is the program's value at its last position. The vocabulary
    holds the alphabet, the start token, and the values that are no letters. Numbers are read out as
    one of their values.

    Args:
      program, length, alphabet, name: as of `compile_program`.

    Raises:
      ValueError: the program cannot be held, or not certified at this length: the reason.

    >>> from constructions.rasp.library import induction
    >>> built = compile_stock(induction(), length=8, alphabet="abc")
    >>> " ".join(built.fields.words)
    'a b c <start> None'
    >>> from constructions import forward
    >>> built.decode(forward(built.spec, built.params, built.encode("abcab")))
    [None, None, None, 'b', 'c']
    """
    letters, lowering, found = lowered(program, StockLowering, length=length, alphabet=alphabet)
    output, name = lowering.as_encoded(found, False), name or program.name
    tokens = [*letters, START, *(value for value in output.values if value not in letters)]
    words = ["<start>" if i == len(letters) else _word(x) for i, x in enumerate(tokens)]
    if len(set(words)) < len(words) or "" in words:
        twice = next(word for word in words if not word or words.count(word) > 1)
        raise ValueError(
            f"{name}: expected letters and values with different words, got {twice!r} twice or "
            "empty: map them to others"
        )
    place = {value: i for i, value in enumerate(tokens)}
    columns = [place[value] for value in output.values]
    rows = [*range(len(letters)), -2, *[-1] * (len(tokens) - len(letters) - 1)]
    first = plan(output, lowering.nodes, rows, columns, 1.0)
    final = replace(first, offset=offset_for(first, length))

    def decode(outputs: Any) -> list[Value]:
        best = np.asarray(outputs, np.float64)[1:, columns].argmax(axis=1)
        return [plain(output.values[i]) for i in best.tolist()]

    sizes = {"token": len(letters), "start": 1}
    if more := len(tokens) - len(letters) - 1:
        sizes["value"] = more
    return posed(
        name, final, program, letters, lowering, causal=True,
        certify=partial(certify, name, final, length), decode=decode,
        fields=ProgramTokens(sizes, names=tuple(words)), proof=PROOF,
    )  # fmt: skip


def _word(value: Value) -> str:
    return "".join(str(value).split())


def stock_rasp(*, program: str = "induction", length: int = 8, alphabet: int = 4) -> Construction:
    """A program of the library as a stock Llama, see `compile_stock`.

    A problem is a sequence of tokens, the answer the list of the program's values at all positions,
    each of which is the greedy token behind the prefix that ends there.

    Args:
      program, length, alphabet: as of `rasp`, under the causal mask.

    Raises:
      ValueError: no such program, or it is not certified at these sizes.

    >>> stock_rasp(program="histogram").oracle("abac")
    [1, 1, 2, 1]
    """
    entry = entry_of(program)
    letters = entry.alphabet(alphabet)
    return compile_stock(entry.build(letters), length=length, alphabet=letters, name="stock-rasp")
