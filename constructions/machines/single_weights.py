"""The weights of one Turing machine in a Llama of one layer, each beside its reason.

Norm, still entries and the head that reads the tape are those of `stock_weights`; see
`stock_single` for the whole argument.
"""

from __future__ import annotations

import numpy as np

from constructions.machines.stock_weights import (
    HEAD,
    TapeNumbers,
    address_bits,
    llama,
    read_tape,
    still_entries,
    undo_norms,
    with_ballast,
)
from constructions.residual import Residual
from constructions.single_vocabulary import SingleVocabulary
from constructions.spec import Params, TransformerSpec, blank
from constructions.vocabulary import END, GO, START


def slices(vocabulary: SingleVocabulary) -> Residual:
    """The residual stream: what each token says, and the symbol that the head finds."""
    w, S, K = vocabulary.bits, vocabulary.symbols, vocabulary.states
    return with_ballast(
        {
            "read": w,  # address of the cell where the head now is, as +-1
            "write": w,  # address of the cell written
            "change": S - 1,  # one-hot of the symbol written, less that of the one read; blank is 0
            "state": K + 1,
            "sink": 1,  # of <start>
            "mean": S - 1,  # of the changes of the cell where the head now is
        }
    )


def head_size(vocabulary: SingleVocabulary) -> int:
    """The smaller power of four whose entries that stand still hold an address and the sink."""
    return next(size for size in (16, HEAD) if len(still_entries(size)) > vocabulary.bits)


def architecture(vocabulary: SingleVocabulary) -> TransformerSpec:
    """A Llama of one layer and one head; its MLP has one unit, which does nothing.

    Raises:
      ValueError: too many weights.
    """
    width, head = slices(vocabulary).width, head_size(vocabulary)
    return llama(vocabulary.size, width, layers=1, hidden=1, head=head)


def build(vocabulary: SingleVocabulary, numbers: TapeNumbers) -> tuple[TransformerSpec, Params]:
    """The weights, float32."""
    spec, r = architecture(vocabulary), slices(vocabulary)
    params = blank(spec)
    undo_norms(numbers.ballast, r, params)
    _embed(vocabulary, numbers, r, params["embed"])
    read_tape(numbers, r, params, layer=0, at="read", of="write")
    _name(vocabulary, numbers, r, params["w_out"])
    return spec, params


def numbers_of(vocabulary: SingleVocabulary, params: Params) -> TapeNumbers:
    """The numbers as they stand in the weights; `build` with them gives all the weights back."""
    r, head = slices(vocabulary), head_size(vocabulary)
    query, out = params["layer_0.w_q"][0], params["w_out"]
    gap = float(out[r.column("state"), vocabulary.step[0, 0, 0]])
    return TapeNumbers(
        ballast=float(params["embed"][START, r.column("ballast")]),
        beta=2 * float(query[r.column("read"), still_entries(head)[0]]) * head**-0.5,
        slope=float(out[r.column("mean"), vocabulary.step[0, 1, 0]]) / (2 * gap or 1),
        gap=gap,
    )


def _embed(
    vocabulary: SingleVocabulary, numbers: TapeNumbers, r: Residual, embed: np.ndarray
) -> None:
    w, S, K, C = vocabulary.bits, vocabulary.symbols, vocabulary.states, vocabulary.cells
    codes = np.eye(S)[:, 1:]
    embed[:, r["ballast"]] = numbers.ballast
    embed[START, r["sink"]] = 1
    embed[GO, r.column("state")] = 1
    embed[GO, r["read"]] = address_bits(np.array(0), w)
    # A cell of the tape is a write to a blank cell.
    c, a = np.indices(vocabulary.cell.shape).reshape(2, -1)
    token = vocabulary.cell.reshape(-1)
    embed[token, r["write"]] = address_bits(c, w)
    embed[token, r["change"]] = codes[a]
    for q, a in np.ndindex(K, S):
        after, written, move = vocabulary.actions[q, a]
        token, c = vocabulary.step[q, a], np.arange(C)
        if after < 0:
            embed[token, r.column("state", K)] = 1
            continue
        embed[token, r.column("state", int(after))] = 1
        embed[token, r["read"]] = address_bits((c + move) % C, w)
        embed[token, r["write"]] = address_bits(c, w)
        # Changes of one cell telescope: their sum is the symbol that stands in it now.
        embed[token, r["change"]] = codes[written] - codes[a]


def _name(vocabulary: SingleVocabulary, numbers: TapeNumbers, r: Residual, out: np.ndarray) -> None:
    """Logits: a gap for the state, a gap for the address, and 2 gaps times slope mean or 1.

    The mean of the symbol that stands in the cell, times slope, is above 1, that of others below;
    blank has 1 always. <end> has more than all that, in state Z alone.
    """
    gap, one = numbers.gap, r.column("ballast")
    q, a, c = np.indices(vocabulary.step.shape).reshape(3, -1)
    token = vocabulary.step.reshape(-1)
    out[r.column("state") + q, token] = gap
    out[r["read"], token] = gap / 2 * address_bits(c, vocabulary.bits).T
    out[one, token[a == 0]] = 2 * gap
    out[r.column("mean") + a[a > 0] - 1, token[a > 0]] = 2 * gap * numbers.slope
    out[r.column("state", vocabulary.states), END] = 4 * gap * numbers.slope
