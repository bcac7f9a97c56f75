"""The weights of the looped construction: six heads that follow pointers, and threshold units.

    layer 0            fetch: a, b and c, the words at counter, counter + 1 and counter + 2
    layer 1            the operands: the words at the addresses a and b
    layers 1 to 3      the difference of the operands, and the counter's next value
    layer 4            the word at address b hears the difference, and whether to write at all

Letters are those of `constructions.machines.looped`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from constructions.blueprint import Blueprint, Gains, Head, LayerBlueprint
from constructions.gadgets import Steps, embedding
from constructions.machines.looped_units import (
    group,
    input_fields,
    residual_of,
    units_of,
    usual_steps,
)
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec


@dataclass(frozen=True)
class Pointer:
    """A head that scores ``gain`` <query, key>, and ``null`` for the null column.

    Args:
      layer: where it stands, after the layer's heads before it.
      query, key: slices of w bits, +-1 or 0.
      target: the slice that it writes.
      gain, null: of the scores.

    Proof. Of +-1 vectors, <p, a> is w if p = a and at most w - 2 if not; a column that has none
    holds zeros. A pointer in the query finds its address if gain (w - 2) and null are below
    gain w, and queries without a pointer find null if it is above 0. With the pointer in the key,
    the address that is pointed to looks there, and all other queries find null, if it lies between
    gain (w - 2) and gain w. The margin is 2 in both uses, for w >= 4. QED
    """

    layer: int
    query: str
    key: str
    target: str
    gain: float = 1.0
    null: float = 2.0

    def head(self, value: Gains) -> Head:
        """The head that carries this value."""
        score = {(self.query, self.key): self.gain, ("one", "null"): self.null}
        return Head(score=score, value=value, compact=True)


@dataclass(frozen=True)
class LoopedNumbers:
    """What the proof leaves open of the weights: the certificate measures how well it is chosen.

    Args:
      temperature: t, which scales all scores.
      loops: how often the layers repeat.
      attend: of all heads.
      pointers: the heads, in order.
      steps: the gates of each layer's units.
    """

    temperature: float
    loops: int
    attend: str
    pointers: tuple[Pointer, ...]
    steps: tuple[Steps, ...]


def usual_numbers(
    residual: Residual, *, temperature: float, loops: int, attend: str
) -> LoopedNumbers:
    """Scores and thresholds in the middle of what they tell apart."""
    w = residual.sizes["address"]
    pointers = (
        Pointer(0, "counter", "address", "a"),
        Pointer(0, "counter", "previous", "b"),
        Pointer(0, "counter", "second_previous", "c"),
        Pointer(1, "a", "address", "first"),
        Pointer(1, "b", "address", "second"),
        Pointer(4, "address", "b", "incoming", gain=2.0, null=2.0 * w - 2),
    )
    steps = tuple(usual_steps(units) for units in units_of(residual))
    return LoopedNumbers(temperature, loops, attend, pointers, steps)


def build(
    *, words: int, bits: int, loops: int, temperature: float, attend: str
) -> tuple[TransformerSpec, Params, Residual]:
    """Spec, params and residual; what they are certain to do is the certificate's to say."""
    w = words.bit_length() - 1
    if words != 1 << w or not 16 <= words <= 1 << (bits - 1):
        raise ValueError(
            f"words: expected a power of two from 16 to 2^(bits - 1) = {1 << max(bits - 1, 0):,}, "
            f"got {words:,}"
        )
    if not temperature > 0:
        raise ValueError(f"temperature: expected a positive number, got {temperature}")
    residual = residual_of(w, bits)
    blueprint = describe(
        residual, usual_numbers(residual, temperature=temperature, loops=loops, attend=attend)
    )
    return blueprint.spec, blueprint.build(), residual


def describe(residual: Residual, numbers: LoopedNumbers) -> Blueprint:
    """The blueprint of the weights, whose inputs fill all slices that are not scratch."""
    units, values = units_of(residual), _values(residual)
    return Blueprint(
        residual=residual,
        embed=embedding(input_fields(residual), residual),
        layers=tuple(
            LayerBlueprint(
                heads=tuple(
                    pointer.head(values[pointer.target])
                    for pointer in numbers.pointers
                    if pointer.layer == i
                ),
                units=(group(residual, units[i], numbers.steps[i]),),
                attend=numbers.attend,
                mask="prefix",
                scale=numbers.temperature,
                gate="hard_sigmoid",
            )
            for i in range(len(units))
        ),
        out=_readout(residual),
        inputs="vectors",
        readout="logits",
        loops=numbers.loops,
    )


def _values(residual: Residual) -> dict[str, Gains]:
    """What each head carries, by target. Addresses are the low bits of words; c has the sign."""
    w, bits = residual.sizes["address"], residual.sizes["value"]
    low, signed = np.eye(bits, w), np.eye(bits, w + 1)
    signed[:, w] = np.eye(bits)[-1]
    return {
        "a": {("value", "a"): low},
        "b": {("value", "b"): low},
        "c": {("value", "c"): signed},
        "first": {("value", "first"): 1.0},
        "second": {("value", "second"): 1.0},
        "incoming": {
            ("difference", "incoming"): 1.0,
            ("state", "write"): 1.0,
            ("halted", "write"): -1.0,
        },
    }


def _readout(residual: Residual) -> dict[str, np.ndarray]:
    """The word of each column as a number; of the state, the counter and whether it has halted.

    Proof. A bit is (v + 1) / 2, and the last one's weight is -2^(N - 1). QED
    """
    bits, w = residual.sizes["value"], residual.sizes["counter"]
    names = ("value", "one", "counter", "state", "halted")
    out = {name: np.zeros((residual.sizes[name], 3)) for name in names}
    weights = 2.0 ** np.arange(bits) / 2
    weights[-1] *= -1
    out["value"][:, 0] = weights
    out["one"][0, 0] = weights.sum()
    out["counter"][:, 1] = 2.0 ** np.arange(w) / 2
    out["state"][0, 1] = (2.0**w - 1) / 2
    out["halted"][0, 2] = 1
    return out
