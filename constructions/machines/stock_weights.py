"""The weights of a universal Turing machine in a Llama of two layers, each beside its reason.

Every token is a step, and says where the head is; see `stock` for the whole argument.

*Norm.* One or two ballast channels hold 2^20, and the other channels' squares add up to less than
half a unit in the last place of its square, so that in float32 the mean of squares is a power of
four at every token. With gains that undo its root the norm is the identity, and the ballast comes
out as 1, the constant that biases would need.

*Rotary positions.* With a theta of 1e38 the pairs from the 16th on stand still for any index;
content uses those alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from constructions.residual import Residual
from constructions.rotary import Rotary
from constructions.spec import Layer, Params, TransformerSpec, blank
from constructions.stock_vocabulary import StockVocabulary
from constructions.vocabulary import END, GO, START

THETA = 1e38
HEAD = 64
# Of the vocabulary's two matrices, 512 MiB: whoever builds them certifies them against a copy.
MOST_WEIGHTS = 2**27


def still_entries(head: int) -> np.ndarray:
    """Entries of a head of that size that stand still: its slower pairs, first halves first."""
    return np.r_[head // 4 : head // 2, head - head // 4 : head]


STILL = still_entries(HEAD)


@dataclass(frozen=True)
class TapeNumbers:
    """What the weights that read the tape may differ in.

    Args:
      ballast: what the ballast channels hold.
      beta: score between a match and a mismatch; the sink is half of it below a match.
      slope: what a mean of changes is multiplied with before it is read as a symbol or none.
      gap: by which the right logit leads.
    """

    ballast: float
    beta: float
    slope: float
    gap: float


@dataclass(frozen=True)
class Numbers(TapeNumbers):
    """What the weights may differ in, machine sizes apart.

    Args:
      steep: gates stand this far from zero, or further; with them a mean of changes from 1.5/slope
        on is read as a symbol, below .5/slope as none.
    """

    steep: float


def slices(vocabulary: StockVocabulary) -> Residual:
    """The residual stream: what each token says, and what the layers find; see `build`."""
    w, S, K = vocabulary.bits, vocabulary.symbols, vocabulary.states
    said = {
        "read": w,  # address of the cell where the head is, as +-1
        "write": w,  # address of the cell written
        "change": S - 1,  # one-hot of the symbol written, less that of the one read; blank is 0
        "state": K + 1,
        "rule_symbol": S,  # of a rule, the symbol that it is for
        "action": K + S + 5,  # of a rule, one-hots: next state, written, move; or "no rule"
        "sink": 1,  # of <start>
    }
    found = {
        "mean": S - 1,  # of the changes of the cell
        "symbol": S - 1,  # that stands in it
        "chosen": K + S + 5,  # action of the rule that applies
    }
    return with_ballast(said | found)


def with_ballast(sizes: dict[str, int]) -> Residual:
    """A stream of these slices behind one or two of ballast, its width a power of two.

    The mean of the ballasts' squares must be a power of four.
    """
    size = 1 + sum(sizes.values())
    log = int(size - 1).bit_length()
    if log % 2 and size + 1 > 2**log:
        log += 1
    ballast = 1 + log % 2
    spare = 2**log - size + 1 - ballast
    return Residual(ballast=ballast, **sizes, **({"spare": spare} if spare else {}))


def architecture(vocabulary: StockVocabulary) -> TransformerSpec:
    """A Llama of two layers, one head of 64 each.

    Raises:
      ValueError: more states and symbols, or bits, than the head has entries that stand still.
    """
    K, S, w = vocabulary.states, vocabulary.symbols, vocabulary.bits
    if len(STILL) < K + S + 2:
        raise ValueError(
            f"machine size: expected states + symbols <= {len(STILL) - 2}, got {K} + {S}"
        )
    return llama(vocabulary.size, slices(vocabulary).width, layers=2, hidden=max(4 * w, 2 * S - 2))


def llama(
    tokens: int, width: int, *, layers: int, hidden: int, heads: int = 1, head: int = HEAD
) -> TransformerSpec:
    """A Llama whose heads have that size, a power of four so that scores are exact.

    Raises:
      ValueError: more weights in its vocabulary's matrices than `MOST_WEIGHTS`.
    """
    if 2 * tokens * width > MOST_WEIGHTS:
        raise ValueError(
            f"machine size: expected at most {MOST_WEIGHTS:,} weights, got {2 * tokens * width:,} "
            f"of {tokens:,} tokens: take fewer bits, states or symbols"
        )
    layer = Layer(
        heads=heads,
        key_size=head,
        value_size=head,
        hidden=hidden,
        scale=head**-0.5,
        gate="silu",
        rotary=Rotary(theta=THETA),
        mlp_bias="none",
    )
    return TransformerSpec(tokens, width, tokens, (layer,) * layers, norm="rms", epsilon=1e-6)


def address_bits(cell: np.ndarray, bits: int) -> np.ndarray:
    """The binary digits of addresses as +-1, lowest first: [..., bits]."""
    return 2.0 * (np.asarray(cell)[..., None] >> np.arange(bits) & 1) - 1


def build(vocabulary: StockVocabulary, numbers: Numbers) -> tuple[TransformerSpec, Params]:
    """The weights, float32."""
    spec, r = architecture(vocabulary), slices(vocabulary)
    params = blank(spec)
    undo_norms(numbers.ballast, r, params)
    _embed(vocabulary, numbers, r, params["embed"])
    read_tape(numbers, r, params, layer=0, at="read", of="write")
    snap(numbers, r, params, layer=0)
    _read_rule(vocabulary, numbers, r, params)
    move = r.column("chosen", vocabulary.states + vocabulary.symbols + 1)
    flip_bits(numbers, r, params, layer=1, move=move, bits="read", out="read")
    _name(vocabulary, numbers, r, params["w_out"])
    return spec, params


def undo_norms(ballast: float, r: Residual, params: Params) -> None:
    """Gains that leave all channels as they are, but for the ballast, which becomes 1."""
    root = (r.sizes["ballast"] / r.width) ** 0.5  # a power of two
    for name in params:
        if "norm" in name:
            params[name][:] = ballast * root
            params[name][r["ballast"]] = root


def numbers_of(vocabulary: StockVocabulary, params: Params) -> Numbers:
    """The numbers as they stand in the weights; `build` with them gives all the weights back."""
    r = slices(vocabulary)
    one, scale = r.column("ballast"), HEAD**-0.5
    steep = -2 * float(params["layer_0.w_gate"][one, 0])
    return Numbers(
        ballast=float(params["embed"][START, one]),
        beta=float(params["layer_1.w_q"][0, r.column("state"), STILL[0]]) * scale,
        slope=float(params["layer_0.w_gate"][r.column("mean"), 0]) / (steep or 1),
        steep=steep,
        gap=float(params["w_out"][r.column("chosen"), vocabulary.step[0, 0, 0, 0, 0]]),
    )


def _embed(vocabulary: StockVocabulary, numbers: Numbers, r: Residual, embed: np.ndarray) -> None:
    K, S, w, C = vocabulary.states, vocabulary.symbols, vocabulary.bits, vocabulary.cells
    codes = np.eye(S)[:, 1:]
    act = r.column("action")
    no_rule = act + K + S + 4
    embed[:, r["ballast"]] = numbers.ballast
    embed[START, r["sink"]] = 1
    embed[START, no_rule] = 1
    embed[GO, r.column("state")] = 1
    embed[GO, r["read"]] = address_bits(np.array(0), w)
    # A cell of the tape is a write to a blank cell.
    c, a = np.indices(vocabulary.cell.shape).reshape(2, -1)
    token = vocabulary.cell.reshape(-1)
    embed[token, r["write"]] = address_bits(c, w)
    embed[token, r["change"]] = codes[a]
    for table in (vocabulary.no_rule, vocabulary.rule):
        q, a, *action = np.indices(table.shape).reshape(table.ndim, -1)
        token = table.reshape(-1)
        embed[token, r.column("state") + q] = 1
        embed[token, r.column("rule_symbol") + a] = 1
        if action:
            after, written, move = action
            for entry in (after, K + 1 + written, K + 1 + S + move):
                embed[token, act + entry] = 1
        else:
            embed[token, no_rule] = 1
    after, written, move, a, c = np.indices(vocabulary.step.shape).reshape(5, -1)
    token = vocabulary.step.reshape(-1)
    embed[token, r.column("state") + after] = 1
    embed[token, r["read"]] = address_bits(c, w)
    embed[token, r["write"]] = address_bits((c - (move - 1)) % C, w)
    # Changes of one cell telescope: their sum is the symbol that stands in it now.
    embed[token, r["change"]] = codes[written] - codes[a]


def read_tape(
    numbers: TapeNumbers, r: Residual, params: Params, *, layer: int, at: str, of: str
) -> None:
    """A head: the mean change of the cell where the head is, 0 if never written.

    The score is beta/2 times the inner product of two addresses: a mismatch is beta below a match
    or lower, and <start>, whose change is 0, half of beta below.

    Args:
      numbers, r, params: of the machine.
      layer: the head's.
      at, of: slices with the address where the head is, and with that of a write.
    """
    w, changes = r.sizes[at], np.arange(r.sizes["change"])
    query, key, value, out = (params[f"layer_{layer}.w_{x}"][0] for x in "qkvo")
    head = query.shape[1]
    one, scale, entries = r.column("ballast"), head**0.5 * numbers.beta / 2, still_entries(head)
    query[r.column(at) + np.arange(w), entries[:w]] = scale
    key[r.column(of) + np.arange(w), entries[:w]] = 1
    query[one, entries[w]] = scale * (w - 1)
    key[r.column("sink"), entries[w]] = 1
    value[r.column("change") + changes, changes] = 1
    out[changes, r.column("mean") + changes] = 1


def snap(numbers: Numbers, r: Residual, params: Params, *, layer: int) -> None:
    """An MLP: symbol = clip(slope mean - 1/2, 0, 1), as the difference of two gates.

    Far from zero silu(z) is 0 or z: silu(steep (x - 1/2)) - silu(steep (x - 3/2)) is 0 for x well
    below 1/2, and steep for x well above 3/2.
    """
    gate, up, down = (params[f"layer_{layer}.w_{x}"] for x in ("gate", "up", "down"))
    one, steep = r.column("ballast"), numbers.steep
    for i in range(r.sizes["mean"]):
        for unit, offset, sign in ((2 * i, 0.5, 1), (2 * i + 1, 1.5, -1)):
            gate[r.column("mean", i), unit] = steep * numbers.slope
            gate[one, unit] = -steep * offset
            up[one, unit] = 1
            down[unit, r.column("symbol", i)] = sign / steep


def _read_rule(vocabulary: StockVocabulary, numbers: Numbers, r: Residual, params: Params) -> None:
    """Head of layer 1: the action of the rule for state and symbol.

    The score is beta for an equal state and beta for an equal symbol; <start>, which says that
    there is no rule, has half of beta less than both.
    """
    K, S = vocabulary.states, vocabulary.symbols
    query, key, value, out = (params[f"layer_1.w_{x}"][0] for x in "qkvo")
    one, scale = r.column("ballast"), HEAD**0.5 * numbers.beta
    states, symbols = STILL[: K + 1], STILL[K + 1 : K + 1 + S]
    entries = np.arange(K + 1)
    query[r.column("state") + entries, states] = scale
    key[r.column("state") + entries, states] = 1
    entries = np.arange(S - 1)
    query[r.column("symbol") + entries, symbols[1:]] = scale
    # Blank is one less all others.
    query[one, symbols[0]] = scale
    query[r["symbol"], symbols[0]] = -scale
    entries = np.arange(S)
    key[r.column("rule_symbol") + entries, symbols] = 1
    query[one, STILL[K + 1 + S]] = 1.5 * scale
    key[r.column("sink"), STILL[K + 1 + S]] = 1
    entries = np.arange(r.sizes["action"])
    value[r.column("action") + entries, entries] = 1
    out[entries, r.column("chosen") + entries] = 1


def flip_bits(
    numbers: Numbers, r: Residual, params: Params, *, layer: int, move: int, bits: str, out: str
) -> None:
    """An MLP: what turns an address into the next one, the move added.

    Bit j flips where all lower bits are 1 (to the right) or 0 (to the left). A unit for each move
    and each value of the bit is the conjunction of j + 2 literals of +-1: their sum less j + 1 is 1
    if all hold, and -1 or less if not.

    Args:
      numbers, r, params: of the machine.
      layer: the MLP's.
      move: the first of three columns with the one-hot of the move.
      bits, out: slices with the address, and where what it changes by is added.
    """
    gate, up, down = (params[f"layer_{layer}.w_{x}"] for x in ("gate", "up", "down"))
    one, steep = r.column("ballast"), numbers.steep
    for j in range(r.sizes[bits]):
        for i, (way, bit) in enumerate(((1, 1), (1, -1), (-1, 1), (-1, -1))):
            unit = 4 * j + i
            gate[move + way + 1, unit] = 2 * steep
            for lower in range(j):
                gate[r.column(bits, lower), unit] = way * steep
            gate[r.column(bits, j), unit] = bit * steep
            gate[one, unit] = -steep * (j + 2)
            up[one, unit] = 1
            down[unit, r.column(out, j)] = -2 * bit / steep


def _name(vocabulary: StockVocabulary, numbers: Numbers, r: Residual, out: np.ndarray) -> None:
    """Logits: gap for each of next state, symbol written, move and symbol read, and for each bit.

    All of the right token agree: any other has at least one gap less. Where no rule applies the
    step tokens lack three, and <end> has four.
    """
    K, S, w, gap = vocabulary.states, vocabulary.symbols, vocabulary.bits, numbers.gap
    after, written, move, a, c = np.indices(vocabulary.step.shape).reshape(5, -1)
    token, one = vocabulary.step.reshape(-1), r.column("ballast")
    for entry in (after, K + 1 + written, K + 1 + S + move):
        out[r.column("chosen") + entry, token] = gap
    blank = token[a == 0]
    out[r.column("symbol") + a[a > 0] - 1, token[a > 0]] = gap
    out[r["symbol"], blank] = -gap
    out[one, blank] = gap
    out[r["read"], token] = gap / 2 * address_bits(c, w).T
    out[r.column("chosen", K + S + 4), END] = 4 * gap
    out[one, END] = gap * w / 2
