"""The certificate of the looped construction, read off its weights.

The numbers that the proof leaves open are measured; the blueprint with these numbers must be the
weights, all of them; and the margins follow from the numbers. Letters are those of
`constructions.machines.looped`; u is the unit roundoff.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from constructions.certificate import (
    UNIT,
    Certificate,
    Record,
    check_dtype,
    issue,
    losing_mass,
)
from constructions.gadgets import Steps
from constructions.machines.looped_units import Unit, residual_of, units_of
from constructions.machines.looped_weights import LoopedNumbers, Pointer, describe, usual_numbers
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec, check_params

# exp(-x) is 0 from here on: below half of the least positive number.
SILENT = {"float64": 1075 * math.log(2)}
SILENT |= dict.fromkeys(("float32", "tf32", "bfloat16"), 150 * math.log(2))


def certify(
    spec: TransformerSpec, params: Params, residual: Residual, *, dtype: str = "float32"
) -> Certificate:
    """Reads every weight; the limits hold for any number of loops.

    Raises:
      ValueError: weights that are not of the proven form, or a size that the dtype cannot hold.
    """
    check_dtype(dtype)
    numbers = read_weights(spec, params, residual)
    margins = _Margins(residual, numbers, dtype)
    certificate = Certificate(
        dtype=dtype,
        limits={"words": margins.words, "bits": margins.bits},
        records=margins.records(),
        error=lambda words, bits: 0.0,
        unit="wrong words after any number of loops",
    )
    return issue(certificate, spec, params)


def read_weights(spec: TransformerSpec, params: Params, residual: Residual) -> LoopedNumbers:
    """The numbers behind weights of the proven form.

    Raises:
      ValueError: a weight that is not.
    """
    if residual.sizes != residual_of(residual.sizes["address"], residual.sizes["value"]).sizes:
        raise ValueError("looped: the residual stream is not that of the construction")
    if not spec.layers or spec.layers[0].attend == "linear":
        raise ValueError("looped: expected softmax or hardmax attention")
    first = spec.layers[0]
    usual = usual_numbers(residual, temperature=first.scale, loops=spec.loops, attend=first.attend)
    if describe(residual, usual).spec != spec:
        raise ValueError("looped: the spec's switches are not those of the construction")
    check_params(spec, params)
    numbers = replace(
        usual,
        pointers=tuple(
            _measure_pointer(params, residual, pointer, head)
            for pointer, head in zip(usual.pointers, (0, 1, 2, 0, 1, 0), strict=True)
        ),
        steps=tuple(
            _measure_steps(i, params, residual, units) for i, units in enumerate(units_of(residual))
        ),
    )
    describe(residual, numbers).verify_exactly("looped", spec, params)
    return numbers


def _measure_pointer(params: Params, residual: Residual, pointer: Pointer, head: int) -> Pointer:
    w_k = params[f"layer_{pointer.layer}.w_k"][head]
    gain = float(w_k[residual.column(pointer.key), 0])
    if not gain > 0:
        raise ValueError(
            f"looped: layer_{pointer.layer}.w_k[{pointer.key}]: expected a positive gain for all "
            f"bits, got {gain:g}"
        )
    null = w_k[residual.column("null"), residual.sizes[pointer.query]]
    return replace(pointer, gain=gain, null=float(null))


def _measure_steps(
    layer: int, params: Params, residual: Residual, units: tuple[Unit, ...]
) -> Steps:
    """The slope of a unit is its first weight over its first term."""
    bias = params[f"layer_{layer}.b_gate"].astype(np.float64)
    slope = np.zeros(len(units))
    for m, unit in enumerate(units):
        if unit.always:
            if not bias[m] >= 1:
                raise ValueError(
                    f"looped: layer_{layer}.b_gate[{m}]: expected an open gate, got {bias[m]:g}"
                )
            continue
        column, term = next(iter(unit.terms.items()))
        slope[m] = params[f"layer_{layer}.w_gate"][residual.column(*column), m] / term
        if not slope[m] > 0:
            raise ValueError(
                f"looped: layer_{layer}.w_gate[{m}]: expected a slope above 0, got {slope[m]:g}"
            )
    return Steps(slope, bias)


class _Margins:
    """What the numbers leave, sublayer by sublayer.

    ``error`` maps the slices that heads write to how far their entries may be from +-1, 0 or 1;
    all other slices hold exact integers, since nothing but threshold units writes to them.
    """

    def __init__(self, residual: Residual, numbers: LoopedNumbers, dtype: str) -> None:
        self.residual, self.numbers = residual, numbers
        self.dtype, self.u = dtype, UNIT[dtype]
        self.w, self.bits = residual.sizes["address"], residual.sizes["value"]
        self.words = 1 << self.w
        self.error: dict[str, float] = {}

    def records(self) -> tuple[Record, ...]:
        """One for each head and MLP, in order."""
        records: list[Record] = []
        for layer, units in enumerate(units_of(self.residual)):
            pointers = [p for p in self.numbers.pointers if p.layer == layer]
            records += [self.head(head, pointer) for head, pointer in enumerate(pointers)]
            self.error["write"] = self.error.get("incoming", 0.0)
            records.append(self.mlp(layer, units, self.numbers.steps[layer]))
        self.readout()
        return tuple(records)

    def head(self, head: int, pointer: Pointer) -> Record:
        """The least gap between the right column and any other, and so the error of the answer."""
        gain, null, w, part = pointer.gain, pointer.null, self.w, f"layer_{pointer.layer}"
        # A pointer scores gain w or at most gain (w - 2), up to its error in each bit; the null
        # column null, all others 0.
        error = self.error.get(pointer.query, 0.0) + self.error.get(pointer.key, 0.0)
        match, mismatch = gain * w * (1 - error), gain * (w - 2 + w * error)
        if pointer.query == "address":
            rivals = [match - null, null - mismatch, null]
        else:
            rivals = [match - mismatch, match - null, match, null]
        scale = self.numbers.temperature
        exact = error == 0 and math.frexp(scale)[0] == 0.5
        rounding = 0.0 if exact else 2 * (w + 2) * self.u * (match + abs(null))
        gap = scale * (min(rivals) - 2 * rounding)
        if gap <= 0:
            raise ValueError(
                f"looped: {part}.w_k[{pointer.key}]: the right column must win, got a gap "
                f"of {gap:.3g}"
            )
        if self.numbers.attend == "hardmax" or gap > SILENT[self.dtype]:
            self.error[pointer.target] = 0.0
            note = "all other columns weigh exactly nothing"
        else:
            # Each of the two sums is off by the leak and by its own rounding.
            others = losing_mass(self.words + 1, gap)
            self.error[pointer.target] = 2 * others + (self.words + 4) * self.u
            note = f"the other columns weigh up to {others:.2g}"
        return Record(
            part=f"{part} head {head}",
            kind="pointer",
            margin=gap,
            magnitude=gain * w,
            exact=exact,
            note=note,
        )

    def mlp(self, layer: int, units: tuple[Unit, ...], steps: Steps) -> Record:
        """Every unit's threshold, against the error and the rounding of its sum."""
        least, largest = math.inf, 0.0
        for unit, slope, bias in zip(units, steps.slope, steps.bias, strict=True):
            if not unit.always:
                margin, magnitude = self.threshold(unit, float(slope), float(bias))
                least, largest = min(least, margin), max(largest, magnitude)
        if largest * self.u >= 1:
            raise ValueError(
                f"looped: {self.dtype} does not certify words of {self.bits} bits: sums reach "
                f"{largest:,.0f} units, exact only below {1 / self.u:,.0f}"
            )
        if least <= 0:
            raise ValueError(
                f"looped: {self.dtype} does not certify {self.words:,} words: layer {layer} reads "
                "sums that are off by more than its thresholds forgive: raise the temperature"
            )
        return Record(
            part=f"layer_{layer} mlp",
            kind="threshold",
            margin=least,
            magnitude=largest,
            exact=True,
            note=f"thresholds with {least:.3g} to spare, and the end of scratch pads",
        )

    def threshold(self, unit: Unit, slope: float, bias: float) -> tuple[float, float]:
        """What is left of a unit's tolerance, and its largest sum in units of its terms."""
        weights = slope * np.array([*unit.terms.values()])
        # The gate is 1 from (1 - bias) / slope on, and 0 up to -bias / slope.
        tolerance = min(unit.at - (1 - bias) / slope, -bias / slope - (unit.at - 1))
        size = float(np.abs(weights).sum() + abs(bias))
        error = _error(unit.terms, self.error)
        if error:
            tolerance -= error + 2 * (len(weights) + 2) * self.u * size / slope
        return tolerance, size / _grain(np.append(weights, bias))

    def readout(self) -> None:
        """Numbers of the bits: exact while twice their sum is below 1 / u."""
        if 2.0**self.bits * self.u >= 1:
            raise ValueError(
                f"looped: {self.dtype} does not certify words of {self.bits} bits: their sums "
                f"reach {2**self.bits:,} units, exact only below {1 / self.u:,.0f}"
            )


def _error(terms: Mapping[tuple[str, int], float], errors: Mapping[str, float]) -> float:
    return sum(abs(weight) * errors.get(name, 0.0) for (name, _), weight in terms.items())


def _grain(weights: np.ndarray) -> float:
    """The largest power of two of which all are multiples.

    >>> _grain(np.array([6.0, -2.0, 0.0])), _grain(np.array([12.0, 0.5]))
    (2.0, 0.5)
    """
    ratios = [abs(float(weight)).as_integer_ratio() for weight in weights if weight]
    return min((top & -top) / bottom for top, bottom in ratios)
