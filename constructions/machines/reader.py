"""What the weights of a machine simulator are, read off them gadget by gadget.

Each step strikes a gadget's weights out of a `Ledger`, raises ValueError where they are not of the
gadget's form, and notes the margin that they leave. Letters are those of
`constructions.machines.weights`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from constructions.certificate import Address, Ledger, Record
from constructions.machines.vocabulary import START, Vocabulary
from constructions.machines.weights import action_vectors, token_features
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec


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
) -> Reading:
    """Reads all weights; ``actions`` are the rules that they should hold, None for a prompt's.

    Raises:
      ValueError: a weight that is not of the proven form.
    """
    switches: set[tuple[object, ...]] = {(spec.norm, spec.readout, spec.inputs, spec.loops)}
    switches |= {(layer.mask, layer.gate, layer.window) for layer in spec.layers}
    if switches != {("none", "logits", "tokens", 1), ("causal", "hard_sigmoid", 0)} or any(
        layer.attend == "linear" for layer in spec.layers
    ):
        raise ValueError(f"{name}: the spec's switches are not those of the construction")
    reader = _Reader(Ledger(name, params), spec, residual, vocabulary)
    last = len(spec.layers) - 1
    offset = reader.embedding()
    reader.position()
    base, tolerance = reader.digits(range(1, last - 1))
    address, sink_gap, match_gap = reader.tape(last - 1, base)
    on, off = reader.symbol(last - 1)
    if actions is None:
        match_gap = min(match_gap, reader.rules_in_prompt(last))
    else:
        reader.rules_in_weights(last, action_vectors(vocabulary, actions))
    reader.readout()
    reader.ledger.close()
    return Reading(
        offset=offset,
        size=address.size,
        tolerance=tolerance,
        sink_gap=sink_gap,
        match_gap=match_gap,
        on=on,
        off=off,
        # The digits' thresholds are multiples of 1/2 up to 4 B^n.
        magnitude=max(8.0 * address.size, *(record.magnitude for record in reader.records)),
        prompt=2 + (vocabulary.rows if actions is None else 0),
        records=tuple(reader.records),
    )


class _Reader:
    def __init__(
        self, ledger: Ledger, spec: TransformerSpec, residual: Residual, vocabulary: Vocabulary
    ) -> None:
        self.ledger, self.spec, self.residual = ledger, spec, residual
        self.vocabulary = vocabulary
        self.features = token_features(vocabulary)
        self.records: list[Record] = []

    def record(self, part: str, kind: str, margin: float, magnitude: float, **more: Any) -> None:
        self.records.append(
            Record(part=part, kind=kind, margin=margin, magnitude=magnitude, **more)
        )

    def unit(
        self,
        layer: int,
        unit: int,
        *,
        gate: Mapping[str, float],
        up: Mapping[str, float],
        down: Mapping[str, float],
        gate_bias: float = 0,
        up_bias: float = 0,
    ) -> None:
        """One hidden unit, weight by weight; slices are named."""
        leaf, ledger, residual = f"layer_{layer}.", self.ledger, self.residual
        for name, value in gate.items():
            ledger.expect(leaf + "w_gate", np.s_[residual[name], unit], value)
        for name, value in up.items():
            ledger.expect(leaf + "w_up", np.s_[residual[name], unit], value)
        for name, row in down.items():
            ledger.expect(leaf + "w_down", np.s_[unit, residual[name]], row)
        ledger.expect(leaf + "b_gate", unit, gate_bias)
        ledger.expect(leaf + "b_up", unit, up_bias)

    def embedding(self) -> int:
        """The offset of the addresses."""
        residual, ledger = self.residual, self.ledger
        for name in self.features.keys() & residual.sizes.keys():
            ledger.expect("embed", np.s_[:, residual[name]], self.features[name])
        address = ledger.take("embed", np.s_[:, residual.column("read_address")])
        offset = int(address[0])
        if (address != offset).any() or offset < 1:
            ledger.refuse("embed", "read_address", "expected one positive integer for all tokens")
        written = offset - self.features["move"]
        written[START] = 0
        ledger.expect("embed", np.s_[:, residual["write_address"]], written)
        for i, feature in enumerate(self.spec.positions):
            ledger.expect("positions", np.s_[i, residual[feature]], 1)
        return offset

    def position(self) -> None:
        """Layer 0: the mean of the moves times its count; the places of tape and rule tokens."""
        residual, universal = self.residual, "row" in self.residual.sizes
        self.ledger.expect("layer_0.w_v", np.s_[0, residual["move"]], 1)
        self.ledger.expect("layer_0.w_o", np.s_[0, :, residual["average"]], 1)
        note = "moves add up to an integer, and cached decoding counts in integers"
        self.record("layer_0 head 0", "mean", math.inf, 1, exact=True, note=note)
        for unit, sign in enumerate((1, -1)):
            down = dict.fromkeys(("read_address", "write_address"), sign)
            self.unit(0, unit, gate={"average": sign}, up={"index": 1}, up_bias=1, down=down)
        first = 1 + (self.vocabulary.rows if universal else 0)
        gate, down = {"is_tape": 1.0}, {"write_address": 1}
        self.unit(0, 2, gate=gate, up={"index": 1}, up_bias=-first, down=down)
        if universal:
            for unit, source, target in ((3, "index", "rule_index"), (4, "square", "rule_square")):
                self.unit(0, unit, gate={"is_rule": 1}, up={source: 1}, down={target: 1})
        note = "mean times count; the places of tape and rule tokens"
        self.record("layer_0 mlp", "product", math.inf, 1, exact=False, note=note)

    def digits(self, layers: Iterable[int]) -> tuple[int, float]:
        """The base, and the least tolerance over all digits."""
        residual, ledger = self.residual, self.ledger
        place, base, least = residual.sizes["read_digits"], 0, math.inf
        for layer in layers:
            place -= 1
            leaf = f"layer_{layer}."
            for name in ("read", "write"):
                source = residual.column(f"{name}_address")
                units = np.flatnonzero(ledger.left[leaf + "w_gate"][source])
                base = base or len(units) + 1
                if len(units) + 1 != base:
                    reason = f"expected {base - 1} units, got {len(units)}"
                    ledger.refuse(leaf + "w_gate", f"{name}_address", reason)
                slope = ledger.take(leaf + "w_gate", np.s_[source, units])
                bias = ledger.take(leaf + "b_gate", units)
                if (slope <= 0).any():
                    ledger.refuse(leaf + "w_gate", f"{name}_address", "expected positive slopes")
                # A unit is 1 from (1 - bias) / slope on, and 0 up to -bias / slope.
                order = np.argsort(-bias / slope)
                units, slope, bias = units[order], slope[order], bias[order]
                j, size = np.arange(1, base), float(base**place)
                margins = (j * size - (1 - bias) / slope, -bias / slope - (j * size - 1))
                least = min(least, *(float(margin.min()) for margin in margins))
                digit = residual.column(f"{name}_digits", place)
                ledger.expect(leaf + "b_up", units, 1)
                ledger.expect(leaf + "w_down", (units, source), -size)
                ledger.expect(leaf + "w_down", (units, digit), 1)
                ledger.expect(
                    leaf + "w_down", np.s_[units, residual[f"{name}_square"]], 2 * j[:, None] - 1
                )
            note = f"inputs may be off by {least:g}"
            self.record(f"layer_{layer} mlp", f"digit {place}", least, 0, exact=True, note=note)
        if least <= 0 or place != 0:
            ledger.refuse("layer_1.w_gate", "read_address", "the digits' thresholds do not fit")
        return base, least

    def read_head(self, layer: int, query: str, key: str, square: str) -> int:
        """The quadratic score 2 <a, b> - |b|^2; returns the number of digits."""
        residual, ledger, leaf = self.residual, self.ledger, f"layer_{layer}."
        n = residual.sizes[query]
        ledger.expect(leaf + "w_q", np.s_[0, residual[query], :n], np.eye(n))
        ledger.expect(leaf + "w_k", np.s_[0, residual[key], :n], 2 * np.eye(n))
        ledger.expect(leaf + "w_q", np.s_[0, residual["one"], n], 1)
        ledger.expect(leaf + "w_k", np.s_[0, residual[square], n], -1)
        return n

    def values(self, layer: int, source: str, target: str) -> None:
        """The value is copied as it is."""
        identity = np.eye(self.residual.sizes[source])
        leaf = f"layer_{layer}."
        self.ledger.expect(leaf + "w_v", np.s_[0, self.residual[source]], identity)
        self.ledger.expect(leaf + "w_o", np.s_[0, :, self.residual[target]], identity)

    def tape(self, layer: int, base: int) -> tuple[Address, float, float]:
        """The head that reads a cell: its address, sink gap and match gap."""
        residual, ledger, leaf = self.residual, self.ledger, f"layer_{layer}."
        n = self.read_head(layer, "read_digits", "write_digits", "write_square")
        self.values(layer, "change", "found")
        sink = -float(ledger.take(leaf + "w_k", (0, residual.column("sink"), n)))
        ledger.expect(leaf + "w_q", np.s_[0, residual["read_square"], n + 1], 1)
        ledger.expect(leaf + "w_k", np.s_[0, residual["sink"], n + 1], 1)
        if not 0 < sink < 1:
            ledger.refuse(leaf + "w_k", "sink", f"expected a score between -1 and 0, got {-sink}")
        scale = self.spec.layers[layer].scale
        power = tuple(float(base**k) for k in range(n))
        hard = self.spec.layers[layer].attend == "hardmax"
        address = Address(
            query=(*power, 0.0, 0.0),
            key=(*(value / 2 for value in power), 0.0, 0.0),
            size=base**n,
            default=0.0 if hard else math.exp(-scale * sink),
            fixed=False,
            remainder=(residual.column("read_address"),),
        )
        unit = float(sink).as_integer_ratio()[1]  # scores are multiples of 1 / unit
        self.record(
            f"layer_{layer} head 0",
            "addressed",
            scale * min(sink, 1 - sink),
            unit * (4.0 * n * (base - 1) ** 2 + 1),
            exact=math.frexp(scale)[0] == 0.5,
            note="the sum of all changes of one cell, over their number",
            address=address,
        )
        return address, scale * min(sink, 1 - sink), scale

    def symbol(self, layer: int) -> tuple[float, float]:
        """The least mean that reads as a symbol, and the largest that reads as none."""
        residual, ledger, leaf = self.residual, self.ledger, f"layer_{layer}."
        n = residual.sizes["found"]
        units = np.arange(n)
        found = units + residual.column("found")
        slope = ledger.take(leaf + "w_gate", (found, units))
        bias = ledger.take(leaf + "b_gate", units)
        if (slope <= 0).any():
            ledger.refuse(leaf + "w_gate", "found", "expected positive slopes")
        ledger.expect(leaf + "b_up", units, 1)
        ledger.expect(leaf + "w_down", np.s_[:, residual["symbol"]], np.eye(n))
        if "row" in residual.sizes:
            ledger.expect(leaf + "w_down", np.s_[:, residual["row"]], units[:, None] + 1)
        on, off = float(((1 - bias) / slope).max()), float((-bias / slope).min())
        note = f"a mean of {on:.2g} or more is a symbol, of {off:.2g} or less none"
        self.record(f"layer_{layer} mlp", "positive", off, 1, exact=False, note=note)
        return on, off

    def rules_in_prompt(self, layer: int) -> float:
        """The head that reads the rule table: its match gap."""
        self.read_head(layer, "row", "rule_index", "rule_square")
        self.values(layer, "action", "action")
        rows, scale = self.vocabulary.rows, self.spec.layers[layer].scale
        produced = self.features["next_action"].any(axis=1)
        self.record(
            f"layer_{layer} head 0",
            "addressed",
            scale,
            3.0 * rows**2,
            exact=math.frexp(scale)[0] == 0.5,
            note="the rule at table position q S + a + 1",
            address=Address(
                query=(1.0, 0.0),
                key=(0.5, 0.0),
                size=rows + 1,
                default=0.0,
                fixed=not self.features["is_rule"][produced].any(),
            ),
        )
        return scale

    def rules_in_weights(self, layer: int, rules: np.ndarray) -> None:
        """The hidden units that hold the rules, [K + 1, S, columns of action]."""
        residual, ledger, leaf = self.residual, self.ledger, f"layer_{layer}."
        for unit, (state, symbol) in enumerate(np.ndindex(rules.shape[:2])):
            flags = np.eye(rules.shape[0])[state]
            read = np.eye(rules.shape[1])[symbol, 1:] if symbol else -np.ones(rules.shape[1] - 1)
            ledger.expect(leaf + "w_gate", np.s_[residual["state"], unit], flags)
            ledger.expect(leaf + "w_gate", np.s_[residual["symbol"], unit], read)
            ledger.expect(leaf + "b_gate", unit, -1 if symbol else 0)
            ledger.expect(leaf + "b_up", unit, 1)
            ledger.expect(leaf + "w_down", np.s_[unit, residual["action"]], rules[state, symbol])
        note = "one unit a rule, on where state and symbol agree"
        self.record(f"layer_{layer} mlp", "rules", 1, 2, exact=True, note=note)

    def readout(self) -> None:
        """The next token wins by 1: 3 for its action and 1 for its symbol, or 4 for no rule."""
        for name, feature in (
            ("action", "next_action"),
            ("symbol", "next_symbol"),
            ("one", "next_one"),
        ):
            self.ledger.expect("w_out", np.s_[self.residual[name]], self.features[feature].T)
        self.record("w_out", "readout", 1, 4, exact=True, note="the right token has 4, others <= 3")
