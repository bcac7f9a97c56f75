"""The weights of a universal Turing machine in a Llama of three layers, each beside its reason.

Two tokens are a step, and two are a rule, so that states and cells need tokens one by one and not
in all pairs. The first head copies what the token before said, and the rest is as in
`stock_weights`, whose norms, tape head and units these weights share; see `stock_pairs`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from constructions.machines.stock_weights import (
    HEAD,
    STILL,
    THETA,
    Numbers,
    address_bits,
    flip_bits,
    llama,
    read_tape,
    snap,
    undo_norms,
    with_ballast,
)
from constructions.pairs_vocabulary import PairsVocabulary
from constructions.residual import Residual
from constructions.rotary import Rotary
from constructions.spec import Params, TransformerSpec, blank
from constructions.vocabulary import END, GO, START

# Pairs of entries that turn with the position and find the token before.
TURNING = 6
# By how many gaps a token of the kind that comes next leads all others.
KIND = 32
# What the first head copies from the token before.
COPIED = ("address", "state", "key_state", "key_symbol")


@dataclass(frozen=True)
class PairsNumbers(Numbers):
    """What the weights may differ in, machine sizes apart.

    Args:
      sharp: score of each turning pair at its best.
    """

    sharp: float


def slices(vocabulary: PairsVocabulary) -> Residual:
    """The residual stream: what each token says, and what the layers find; see `build`."""
    w, S, n = vocabulary.bits, vocabulary.symbols, vocabulary.state_bits
    said = {
        "address": w,  # of a cell, as +-1
        "state": n,  # next state of a step, as +-1
        "key_state": n,  # of a rule, the state and
        "key_symbol": S,  # the symbol that it is for, one-hot
        "action": n + S + 4,  # of a rule: next state as +-1; one-hots: written, move; "no rule"
        "change": S - 1,  # one-hot of the symbol written, less that of the one read; blank is 0
        "move": 3,
        "sink": 1,  # of <start>
        "is_cell": 1,
        "is_step": 1,  # of <go> too, after which a cell comes as well
    }
    copied = {f"previous_{name}": said[name] for name in COPIED}
    found = {
        "flip": w,  # what turns the address before into the next one
        "mean": S - 1,  # of the changes of the cell
        "symbol": S - 1,  # that stands in it
        "chosen": n + S + 4,  # action of the rule that applies
    }
    return with_ballast(said | copied | found)


def architecture(vocabulary: PairsVocabulary) -> TransformerSpec:
    """A Llama of three layers, one head of 64 each.

    Raises:
      ValueError: more states, symbols and bits than a head has entries, or too many weights.
    """
    w, S, n = vocabulary.bits, vocabulary.symbols, vocabulary.state_bits
    still, copied = max(w + 1, n + S + 1), w + 2 * n + S
    if still > len(STILL) or copied > HEAD:
        raise ValueError(
            f"machine size: expected {len(STILL)} entries of a head or fewer to stand still and "
            f"{HEAD} copied, got {still} and {copied}"
        )
    width = slices(vocabulary).width
    return llama(vocabulary.size, width, layers=3, hidden=max(4 * w, 2 * S - 2))


def build(vocabulary: PairsVocabulary, numbers: PairsNumbers) -> tuple[TransformerSpec, Params]:
    """The weights, float32."""
    spec, r = architecture(vocabulary), slices(vocabulary)
    params = blank(spec)
    undo_norms(numbers.ballast, r, params)
    _embed(vocabulary, numbers, r, params["embed"])
    _copy_previous(numbers, r, params)
    move = r.column("move")
    flip_bits(numbers, r, params, layer=0, move=move, bits="previous_address", out="flip")
    read_tape(numbers, r, params, layer=1, at="address", of="previous_address")
    snap(numbers, r, params, layer=1)
    _read_rule(vocabulary, numbers, r, params)
    _name(vocabulary, numbers, r, params["w_out"])
    return spec, params


def numbers_of(vocabulary: PairsVocabulary, params: Params) -> PairsNumbers:
    """The numbers as they stand in the weights; `build` with them gives all the weights back."""
    r = slices(vocabulary)
    one, scale = r.column("ballast"), HEAD**-0.5
    steep = -2 * float(params["layer_1.w_gate"][one, 0])
    return PairsNumbers(
        ballast=float(params["embed"][START, one]),
        beta=2 * float(params["layer_1.w_q"][0, r.column("address"), STILL[0]]) * scale,
        slope=float(params["layer_1.w_gate"][r.column("mean"), 0]) / (steep or 1),
        steep=steep,
        gap=float(
            params["w_out"][r.column("chosen", vocabulary.state_bits), vocabulary.step.flat[0]]
        ),
        sharp=float(params["layer_0.w_q"][0, one, 0]) * scale,
    )


def _embed(
    vocabulary: PairsVocabulary, numbers: PairsNumbers, r: Residual, embed: np.ndarray
) -> None:
    w, S, n = vocabulary.bits, vocabulary.symbols, vocabulary.state_bits
    codes, act = np.eye(S)[:, 1:], r.column("action")
    no_rule = act + n + S + 3
    embed[:, r["ballast"]] = numbers.ballast
    embed[START, r["sink"]] = 1
    embed[[START, vocabulary.no_action], no_rule] = 1
    # <go> is as if a step had come to cell 0 from there.
    embed[GO, r["state"]] = address_bits(np.array(0), n)
    embed[GO, r["previous_address"]] = address_bits(np.array(0), w)
    embed[GO, r["is_step"]] = 1
    # The symbol of a cell of the tape is a write to a blank cell.
    embed[vocabulary.symbol, r["change"]] = codes
    q, a = np.indices(vocabulary.key.shape).reshape(2, -1)
    token = vocabulary.key.reshape(-1)
    embed[token, r["key_state"]] = address_bits(q, n)
    embed[token, r.column("key_symbol") + a] = 1
    after, written, move = np.indices(vocabulary.action.shape).reshape(3, -1)
    token = vocabulary.action.reshape(-1)
    embed[token, act : act + n] = address_bits(after, n)
    for entry in (n + written, n + S + move):
        embed[token, act + entry] = 1
    after, written, move, a = np.indices(vocabulary.step.shape).reshape(4, -1)
    token = vocabulary.step.reshape(-1)
    embed[token, r["state"]] = address_bits(after, n)
    # Changes of one cell telescope: their sum is the symbol that stands in it now.
    embed[token, r["change"]] = codes[written] - codes[a]
    embed[token, r.column("move") + move] = 1
    embed[token, r["is_step"]] = 1
    embed[vocabulary.cell, r["address"]] = address_bits(np.arange(vocabulary.cells), w)
    embed[vocabulary.cell, r["is_cell"]] = 1


def look_back(sharp: float, r: Residual, params: Params, *, head: int, back: int) -> None:
    """Queries and keys of a head of layer 0 that finds the token ``back`` places before.

    Pair i turns by f_i a token. All queries point one way and all keys are so many turns ahead that
    the score at distance d is sharp sum_i cos((d - back) f_i), greatest at d = back alone.
    """
    query, key = (params[f"layer_0.w_{x}"][head] for x in "qk")
    one, pairs = r.column("ballast"), np.arange(TURNING)
    turn = back * Rotary(theta=THETA).frequencies(HEAD)[:TURNING]
    query[one, pairs] = HEAD**0.5 * sharp
    key[one, pairs] = np.cos(turn)
    key[one, pairs + HEAD // 2] = np.sin(turn)


def _copy_previous(numbers: PairsNumbers, r: Residual, params: Params) -> None:
    """Head of layer 0: what the token before said."""
    value, out = (params[f"layer_0.w_{x}"][0] for x in "vo")
    look_back(numbers.sharp, r, params, head=0, back=1)
    entry = 0
    for name in COPIED:
        for i in range(r.sizes[name]):
            value[r.column(name, i), entry] = 1
            out[entry, r.column(f"previous_{name}", i)] = 1
            entry += 1


def _read_rule(
    vocabulary: PairsVocabulary, numbers: PairsNumbers, r: Residual, params: Params
) -> None:
    """Head of layer 2: the action of the rule for state and symbol.

    The score is beta/2 times the inner product of the states, and beta for an equal symbol: another
    rule is beta below that, or more; <start>, which says that there is no rule, half of beta.
    """
    n, S = vocabulary.state_bits, vocabulary.symbols
    query, key, value, out = (params[f"layer_2.w_{x}"][0] for x in "qkvo")
    one, scale = r.column("ballast"), HEAD**0.5 * numbers.beta
    symbols, sink = STILL[n : n + S], STILL[n + S]
    entries = np.arange(n)
    query[r.column("previous_state") + entries, STILL[:n]] = scale / 2
    key[r.column("previous_key_state") + entries, STILL[:n]] = 1
    entries = np.arange(S - 1)
    query[r.column("symbol") + entries, symbols[1:]] = scale
    # Blank is one less all others.
    query[one, symbols[0]] = scale
    query[r["symbol"], symbols[0]] = -scale
    entries = np.arange(S)
    key[r.column("previous_key_symbol") + entries, symbols] = 1
    query[one, sink] = (n + 1) / 2 * scale
    key[r.column("sink"), sink] = 1
    entries = np.arange(r.sizes["action"])
    value[r.column("action") + entries, entries] = 1
    out[entries, r.column("chosen") + entries] = 1


def _name(vocabulary: PairsVocabulary, numbers: PairsNumbers, r: Residual, out: np.ndarray) -> None:
    """Logits: a gap for each part that agrees, and many for a token of the kind that comes next.

    Behind a cell comes a step: half a gap for each bit of the next state, one each for symbol
    written, move and symbol read; where no rule applies all but the last are missing, and <end> has
    four. Behind a step comes a cell: half a gap for each bit of the address.
    """
    n, S, gap = vocabulary.state_bits, vocabulary.symbols, numbers.gap
    after, written, move, a = np.indices(vocabulary.step.shape).reshape(4, -1)
    token, one, chosen = vocabulary.step.reshape(-1), r.column("ballast"), r.column("chosen")
    out[chosen : chosen + n, token] = gap / 2 * address_bits(after, n).T
    for entry in (n + written, n + S + move):
        out[chosen + entry, token] = gap
    blank = token[a == 0]
    out[r.column("symbol") + a[a > 0] - 1, token[a > 0]] = gap
    out[r["symbol"], blank] = -gap
    out[one, blank] = gap
    out[r["is_cell"], token] = KIND * gap
    out[r["is_cell"], END] = KIND * gap
    out[chosen + n + S + 3, END] = 4 * gap
    bits = gap / 2 * address_bits(np.arange(vocabulary.cells), vocabulary.bits).T
    out[r["previous_address"], vocabulary.cell] = bits
    out[r["flip"], vocabulary.cell] = bits
    out[r["is_step"], vocabulary.cell] = KIND * gap
