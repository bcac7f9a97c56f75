"""The certificate of the looped construction, read off its weights.

Letters are those of `constructions.machines.looped`; u is the unit roundoff.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from constructions.certificate import (
    UNIT,
    Certificate,
    Ledger,
    Record,
    check_dtype,
    digest,
    losing_mass,
)
from constructions.machines.looped_units import Unit, residual_of, units_of
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec

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
    reader = _Reader(spec, params, residual, dtype)
    reader.read()
    return Certificate(
        dtype=dtype,
        limits={"words": reader.words, "bits": reader.bits},
        records=tuple(reader.records),
        error=lambda words, bits: 0.0,
        unit="wrong words after any number of loops",
        weights=digest(spec, params),
    )


class _Reader:
    """Strikes out gadget by gadget.

    ``error`` maps the slices that heads write to how far their entries may be from +-1, 0 or 1;
    all other slices hold exact integers, since nothing but threshold units writes to them.
    """

    def __init__(
        self, spec: TransformerSpec, params: Params, residual: Residual, dtype: str
    ) -> None:
        self.ledger, self.spec, self.residual = Ledger("looped", params), spec, residual
        self.dtype, self.u = dtype, UNIT[dtype]
        self.w, self.bits = residual.sizes["address"], residual.sizes["value"]
        self.words = 1 << self.w
        self.error: dict[str, float] = {}
        self.records: list[Record] = []

    def read(self) -> None:
        spec, residual, bits, w = self.spec, self.residual, self.bits, self.w
        switches = (spec.norm, spec.readout, spec.inputs, spec.positions, len(spec.layers))
        layers = {(layer.mask, layer.gate, layer.window) for layer in spec.layers}
        if switches != ("none", "logits", "vectors", (), 5) or layers != {
            ("prefix", "hard_sigmoid", 0)
        }:
            raise ValueError("looped: the spec's switches are not those of the construction")
        if any(layer.attend == "linear" for layer in spec.layers):
            raise ValueError("looped: expected softmax or hardmax attention")
        if residual.sizes != residual_of(w, bits).sizes:
            raise ValueError("looped: the residual stream is not that of the construction")
        self.ledger.expect("embed", np.s_[:, : spec.input_size], np.eye(spec.input_size))
        units = units_of(residual)

        low = residual.column("value")
        pointer = np.arange(low, low + w)
        keys = ("address", "previous", "second_previous")
        for head, (key, target) in enumerate(zip(keys, "abc", strict=True)):
            source = np.append(pointer, low + bits - 1) if target == "c" else pointer
            self.values(0, head, source, target)
            self.head(0, head, query="counter", key=key, target=target)
        self.mlp(0, units[0])
        for head, (query, target) in enumerate((("a", "first"), ("b", "second"))):
            self.values(1, head, np.arange(low, low + bits), target)
            self.head(1, head, query=query, key="address", target=target)
        for layer in (1, 2, 3):
            self.mlp(layer, units[layer])

        difference = residual.column("difference")
        self.values(4, 0, np.arange(difference, difference + bits), "incoming")
        leaf = self.ledger
        leaf.expect("layer_4.w_v", (0, residual.column("state"), bits), 1)
        leaf.expect("layer_4.w_v", (0, residual.column("halted"), bits), -1)
        leaf.expect("layer_4.w_o", (0, bits, residual.column("write")), 1)
        self.head(4, 0, query="address", key="b", target="incoming")
        self.error["write"] = self.error["incoming"]
        self.mlp(4, units[4])
        self.readout()
        self.ledger.close()

    def values(self, layer: int, head: int, source: np.ndarray, target: str) -> None:
        """The value is copied as it is."""
        n, first = len(source), self.residual.column(target)
        leaf = f"layer_{layer}."
        for k in range(n):
            self.ledger.expect(leaf + "w_v", (head, int(source[k]), k), 1)
            self.ledger.expect(leaf + "w_o", (head, k, first + k), 1)

    def head(self, layer: int, head: int, *, query: str, key: str, target: str) -> None:
        """The least gap between the right column and any other, and so the error of the answer."""
        residual, ledger, leaf, w = self.residual, self.ledger, f"layer_{layer}.", self.w
        ledger.expect(leaf + "w_q", np.s_[head, residual[query], :w], np.eye(w))
        ledger.expect(leaf + "w_q", np.s_[head, residual["one"], w], 1)
        start = residual.column(key)
        gains = ledger.take(leaf + "w_k", (head, np.arange(start, start + w), np.arange(w)))
        gain, null = (
            float(gains[0]),
            float(ledger.take(leaf + "w_k", (head, residual.column("null"), w))),
        )
        if (gains != gain).any() or gain <= 0:
            ledger.refuse(leaf + "w_k", key, "expected one positive gain for all bits")
        # A pointer scores gain w or at most gain (w - 2), up to its error in each bit; the null
        # column null, all others 0.
        error = self.error.get(query, 0.0) + self.error.get(key, 0.0)
        match, mismatch = gain * w * (1 - error), gain * (w - 2 + w * error)
        if query == "address":
            rivals = [match - null, null - mismatch, null]
        else:
            rivals = [match - mismatch, match - null, match, null]
        layer_spec = self.spec.layers[layer]
        exact = error == 0 and math.frexp(layer_spec.scale)[0] == 0.5
        rounding = 0.0 if exact else 2 * (w + 2) * self.u * (match + abs(null))
        gap = layer_spec.scale * (min(rivals) - 2 * rounding)
        if gap <= 0:
            ledger.refuse(leaf + "w_k", key, f"the right column must win, got a gap of {gap:.3g}")
        if layer_spec.attend == "hardmax" or gap > SILENT[self.dtype]:
            self.error[target] = 0.0
            note = "all other columns weigh exactly nothing"
        else:
            # Each of the two sums is off by the leak and by its own rounding.
            others = losing_mass(self.words + 1, gap)
            self.error[target] = 2 * others + (self.words + 4) * self.u
            note = f"the other columns weigh up to {others:.2g}"
        self.records.append(
            Record(
                part=f"layer_{layer} head {head}",
                kind="pointer",
                margin=gap,
                magnitude=gain * w,
                exact=exact,
                note=note,
            )
        )

    def mlp(self, layer: int, units: tuple[Unit, ...]) -> None:
        """Every unit's threshold, against the error and the rounding of its sum."""
        least, largest = math.inf, 0.0
        for m, unit in enumerate(units):
            margin, magnitude = self.unit(layer, m, unit)
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
        note = f"thresholds with {least:.3g} to spare, and the end of scratch pads"
        self.records.append(
            Record(
                part=f"layer_{layer} mlp",
                kind="threshold",
                margin=least,
                magnitude=largest,
                exact=True,
                note=note,
            )
        )

    def unit(self, layer: int, m: int, unit: Unit) -> tuple[float, float]:
        """What is left of a unit's tolerance, and its largest sum in units of its terms."""
        residual, ledger, leaf = self.residual, self.ledger, f"layer_{layer}."
        bias = float(ledger.take(leaf + "b_gate", m))
        for column, weight in unit.up.items():
            ledger.expect(leaf + "w_up", (residual.column(*column), m), weight)
        ledger.expect(leaf + "b_up", m, unit.constant)
        ledger.expect(leaf + "w_down", (m, residual.column(*unit.down)), unit.sign)
        if unit.always:
            if bias < 1:
                ledger.refuse(leaf + "b_gate", m, f"expected a gate that is open, got {bias}")
            return math.inf, 0.0
        rows = [residual.column(*column) for column in unit.terms]
        terms = np.array([*unit.terms.values()])
        weights = ledger.take(leaf + "w_gate", (rows, [m] * len(rows)))
        slope = float(weights[0] / terms[0])
        if slope <= 0 or (weights != slope * terms).any():
            ledger.refuse(leaf + "w_gate", m, "expected weights in the proportions of its terms")
        # The gate is 1 from (1 - bias) / slope on, and 0 up to -bias / slope.
        tolerance = min(unit.at - (1 - bias) / slope, -bias / slope - (unit.at - 1))
        size = float(np.abs(weights).sum() + abs(bias))
        error = _error(unit.terms, self.error)
        if error:
            tolerance -= error + 2 * (len(terms) + 2) * self.u * size / slope
        return tolerance, size / _grain(np.append(weights, bias))

    def readout(self) -> None:
        """Numbers of the bits: exact while twice their sum is below 1 / u."""
        residual, ledger = self.residual, self.ledger
        weights = 2.0 ** np.arange(self.bits) / 2
        weights[-1] *= -1
        ledger.expect("w_out", np.s_[residual["value"], 0], weights)
        ledger.expect("w_out", (residual.column("one"), 0), weights.sum())
        ledger.expect("w_out", np.s_[residual["counter"], 1], 2.0 ** np.arange(self.w) / 2)
        ledger.expect("w_out", (residual.column("state"), 1), (self.words - 1) / 2)
        ledger.expect("w_out", (residual.column("halted"), 2), 1)
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
