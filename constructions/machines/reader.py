"""What the weights of a machine simulator are, read off them.

The numbers that the proof leaves open are measured, with the margins that they leave; then the
blueprint with these numbers must be the weights, all of them. Letters are those of
`constructions.machines.weights`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from constructions.certificate import Address, Record
from constructions.gadgets import Steps
from constructions.machines.weights import (
    COIN,
    Features,
    SimulatorNumbers,
    describe,
    token_features,
    usual_numbers,
)
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec, check_params
from constructions.vocabulary import Vocabulary


@dataclass(frozen=True)
class Reading:
    """The numbers behind a simulator's proof.

    Attributes:
      offset: address of cell 0.
      size: B^n, the number of addresses.
      tolerance: error of an address, in cells, that its digits forgive.
      sink_gap: least score, in logits, of a match over the sink and of the sink over a mismatch.
      match_gap: least score of a match over any mismatch, in the tape and the rule head.
      on, off: the least mean that reads as a symbol, and the largest that reads as none.
      magnitude: largest sum, in units of its terms, that must have no rounding error.
      prompt: tokens of a prompt whose tape is empty.
      records: one for each head and MLP.
    """

    offset: int
    size: int
    tolerance: float
    sink_gap: float
    match_gap: float
    on: float
    off: float
    magnitude: float
    prompt: int
    records: tuple[Record, ...]


def read_weights(
    name: str,
    spec: TransformerSpec,
    params: Params,
    residual: Residual,
    vocabulary: Vocabulary,
    actions: np.ndarray | None,
    *,
    coins: bool,
) -> Reading:
    """Reads all weights; ``actions`` are the rules that they should hold, None for a prompt's.

    With ``coins`` the two weights of a coin must be there too.

    Raises:
      ValueError: a weight that is not of the proven form.
    """
    features = token_features(vocabulary)
    numbers = _numbers_of(name, spec, residual, vocabulary)
    if describe(vocabulary, features, actions, numbers, coins=coins).spec != spec:
        raise ValueError(f"{name}: the spec's switches are not those of the construction")
    check_params(spec, params)
    numbers = _measure(name, params, residual, numbers)
    whole = describe(vocabulary, features, actions, numbers, coins=coins)
    whole.verify_exactly(name, spec, params)
    n, size = len(numbers.digits), numbers.base ** len(numbers.digits)
    *digits, last = _digits(numbers)
    if last.margin <= 0:
        raise ValueError(f"{name}: layer_1.w_gate: the digits' thresholds do not fit")
    on, off = float(numbers.symbol.on.max()), float(numbers.symbol.off.min())
    records = (
        *_position(),
        *digits,
        last,
        _tape(numbers, residual),
        Record(
            part=f"layer_{n + 1} mlp",
            kind="positive",
            margin=off,
            magnitude=1,
            note=f"a mean of {on:.2g} or more is a symbol, of {off:.2g} or less none",
        ),
        _rules(numbers, vocabulary, features, in_prompt=actions is None),
        Record(
            part="w_out",
            kind="readout",
            margin=1,
            magnitude=4,
            exact=True,
            note="the right token has 4, others <= 3",
        ),
    )
    if coins:
        note = "after a tape token two of its kind have the same logit, all others 4 at most"
        margin, magnitude = COIN - 4, COIN + 4
        coin = Record(
            part="w_out", kind="coin", margin=margin, magnitude=magnitude, exact=True, note=note
        )
        records += (coin,)
    scales = [numbers.tape_scale] + [numbers.rule_scale] * (actions is None)
    return Reading(
        offset=numbers.offset,
        size=size,
        tolerance=last.margin,
        sink_gap=numbers.tape_scale * min(numbers.sink, 1 - numbers.sink),
        match_gap=min(scales),
        on=on,
        off=off,
        # The digits' thresholds are multiples of 1/2 up to 4 B^n.
        magnitude=max(8.0 * size, *(record.magnitude for record in records)),
        prompt=2 + (vocabulary.rows if actions is None else 0),
        records=records,
    )


def _numbers_of(
    name: str, spec: TransformerSpec, residual: Residual, vocabulary: Vocabulary
) -> SimulatorNumbers:
    """What the spec alone says of the numbers; the rest as usual."""
    digits = residual.sizes["read_digits"]
    if len(spec.layers) != digits + 3 or spec.layers[0].attend == "linear":
        raise ValueError(f"{name}: the spec's switches are not those of the construction")
    usual = usual_numbers(
        base=spec.layers[1].hidden // 2 + 1,
        digits=digits,
        symbols=vocabulary.symbols,
        tokens=1,
        attend=spec.layers[0].attend,
    )
    return replace(usual, tape_scale=spec.layers[-2].scale, rule_scale=spec.layers[-1].scale)


def _measure(
    name: str, params: Params, residual: Residual, numbers: SimulatorNumbers
) -> SimulatorNumbers:
    """The numbers as they stand in the weights, of which nothing else is known yet."""

    def steps(layer: int, rows: int | np.ndarray, units: np.ndarray) -> Steps:
        slope = params[f"layer_{layer}.w_gate"][rows, units].astype(np.float64)
        bias = params[f"layer_{layer}.b_gate"][units].astype(np.float64)
        if not (slope > 0).all():
            raise ValueError(f"{name}: layer_{layer}.w_gate: expected positive slopes")
        return Steps(slope, bias)

    offset = float(params["embed"][0, residual.column("read_address")])
    if not (1 <= offset < math.inf and offset == int(offset)):
        raise ValueError(f"{name}: embed: expected a positive integer as offset, got {offset:g}")
    n, half = len(numbers.digits), np.arange(numbers.base - 1)
    read, write = (residual.column(f"{which}_address") for which in ("read", "write"))
    sink = -float(params[f"layer_{n + 1}.w_k"][0, residual.column("sink"), n])
    if not 0 < sink < 1:
        raise ValueError(f"{name}: layer_{n + 1}.w_k: expected a sink from -1 to 0, got {-sink:g}")
    symbols = np.arange(residual.sizes["found"])
    return replace(
        numbers,
        offset=int(offset),
        digits=tuple(
            (steps(i, read, half), steps(i, write, half + len(half))) for i in range(1, n + 1)
        ),
        sink=sink,
        symbol=steps(n + 1, residual.column("found") + symbols, symbols),
    )


def _position() -> tuple[Record, Record]:
    """Layer 0: the mean of the moves times its count; the places of tape and rule tokens."""
    mean = Record(
        part="layer_0 head 0",
        kind="mean",
        magnitude=1,
        exact=True,
        note="moves add up to an integer, and cached decoding counts in integers",
    )
    product = Record(
        part="layer_0 mlp",
        kind="product",
        magnitude=1,
        note="mean times count; the places of tape and rule tokens",
    )
    return mean, product


def _digits(numbers: SimulatorNumbers) -> Iterator[Record]:
    """Each layer's record has the least tolerance so far: errors pass on to the next digit."""
    least, j = math.inf, np.arange(1, numbers.base)
    for i, pair in enumerate(numbers.digits, start=1):
        place = len(numbers.digits) - i
        size = float(numbers.base**place)
        for steps in pair:
            margins = (j * size - steps.on, steps.off - (j * size - 1))
            least = min(least, *(float(margin.min()) for margin in margins))
        yield Record(
            part=f"layer_{i} mlp",
            kind=f"digit {place}",
            margin=least,
            magnitude=0,
            exact=True,
            note=f"inputs may be off by {least:g}",
        )


def _tape(numbers: SimulatorNumbers, residual: Residual) -> Record:
    """The head that reads a cell."""
    base, n, sink, scale = numbers.base, len(numbers.digits), numbers.sink, numbers.tape_scale
    power = tuple(float(base**k) for k in range(n))
    unit = sink.as_integer_ratio()[1]  # scores are multiples of 1 / unit
    return Record(
        part=f"layer_{n + 1} head 0",
        kind="addressed",
        margin=scale * min(sink, 1 - sink),
        magnitude=unit * (4.0 * n * (base - 1) ** 2 + 1),
        exact=math.frexp(scale)[0] == 0.5,
        note="the sum of all changes of one cell, over their number",
        address=Address(
            query=(*power, 0.0, 0.0),
            key=(*(value / 2 for value in power), 0.0, 0.0),
            size=base**n,
            default=0.0 if numbers.attend == "hardmax" else math.exp(-scale * sink),
            fixed=False,
            remainder=(residual.column("read_address"),),
        ),
    )


def _rules(
    numbers: SimulatorNumbers, vocabulary: Vocabulary, features: Features, *, in_prompt: bool
) -> Record:
    """The head that reads the prompt's rule table, or the units that hold the rules."""
    layer = f"layer_{len(numbers.digits) + 2}"
    if not in_prompt:
        return Record(
            part=f"{layer} mlp",
            kind="rules",
            margin=1,
            magnitude=2,
            exact=True,
            note="one unit a rule, on where state and symbol agree",
        )
    produced = features["next_action"].any(axis=1)
    return Record(
        part=f"{layer} head 0",
        kind="addressed",
        margin=numbers.rule_scale,
        magnitude=3.0 * vocabulary.rows**2,
        exact=math.frexp(numbers.rule_scale)[0] == 0.5,
        note="the rule at table position q S + a + 1",
        address=Address(
            query=(1.0, 0.0),
            key=(0.5, 0.0),
            size=vocabulary.rows + 1,
            default=0.0,
            fixed=not features["is_rule"][produced].any(),
        ),
    )
