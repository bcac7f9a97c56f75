"""Certificates of machines: right at the limit, refused beyond it, and no weight left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases_machines import random_case

from constructions import TuringMachine
from constructions.certificate import digest, issue
from constructions.machines.certify import certify
from constructions.machines.reader import read_weights
from constructions.machines.single import single
from constructions.machines.universal import universal
from constructions.vocabulary import Vocabulary
from icl_sim.decoding import Decoder
from icl_sim.decoding.plan import make_plan
from icl_sim.errors import InputError
from icl_sim.transformer import load

# Writes 1 and 0 in turn and never leaves cell 0, so that one cell sees every step.
BLINK = TuringMachine(
    "blink",
    ("a",),
    ("0", "1"),
    "0",
    "a",
    {("a", "0"): ("a", "1", 0), ("a", "1"): ("a", "0", 0)},
)
# Runs to the right (or left) for ever, and writes 1.
RIGHT = TuringMachine("right", ("a",), ("0", "1"), "0", "a", {("a", "0"): ("a", "1", 1)})
LEFT = TuringMachine("left", ("a",), ("0", "1"), "0", "a", {("a", "0"): ("a", "1", -1)})


def test_the_promised_sizes_are_certified():
    limits = universal(states=8, symbols=2).certificate.limits
    assert limits["steps"] >= 2**20
    assert limits["cells"] >= 2**19
    for states, symbols in ((8, 2), (8, 4), (32, 4)):
        limits = universal(
            states=states, symbols=symbols, steps=2**26, cells=2**15
        ).certificate.limits
        assert limits["steps"] >= 2**26
        assert limits["cells"] >= 2**15


@pytest.mark.parametrize("build", [universal, single])
def test_limits_are_refused_with_the_reason(build):
    with pytest.raises(ValueError, match=r"bfloat16 does not certify .*: addresses are off by"):
        build(dtype="bfloat16")
    with pytest.raises(ValueError, match=r"tf32 does not certify .*: addresses are off by"):
        build(dtype="tf32")
    with pytest.raises(ValueError, match="dtype: expected one of"):
        build(dtype="float8")
    with pytest.raises(ValueError, match="32 bits"):
        build(steps=2**31, cells=64)
    with pytest.raises(ValueError, match=r"does not certify .* 1,048,576 cells"):
        build(cells=2**20)
    limits = build(steps=1000, cells=100).certificate.limits
    for name in ("steps", "cells"):
        with pytest.raises(ValueError, match=f"{name}: expected at most"):
            build(steps=1000, cells=100).certificate.check(**{name: limits[name] + 1})


def certificate_of(construction, params, actions=None):
    name, spec = construction.name, construction.spec
    reading = read_weights(
        name, spec, params, construction.residual, Vocabulary(3, 3), actions, coins=False
    )
    return issue(certify(name, reading, steps=1000, cells=100), spec, params)


@pytest.mark.parametrize("build", [universal, single])
def test_no_weight_can_change_without_the_certificate(build):
    rng = np.random.default_rng(0)
    size = {"states": 3, "symbols": 3, "steps": 1000, "cells": 100}
    machine, _ = random_case(rng, states=3, symbols=3)
    construction = universal(**size) if build is universal else single(machine=machine, **size)
    actions = None if build is universal else Vocabulary(3, 3).actions(machine)
    good = certificate_of(construction, construction.params, actions)
    assert good == construction.certificate
    refused = changed = 0
    for leaf, weights in construction.params.items():
        places = [tuple(rng.integers(weights.shape)) for _ in range(12)]
        filled = np.argwhere(weights)
        if len(filled):
            places += [tuple(filled[i]) for i in rng.integers(len(filled), size=12)]
        for place in places:
            for change in (1.0, -2 * weights[place], 2.0**-9):
                if change:
                    flipped = weights.copy()
                    flipped[place] += change
                    params = construction.params | {leaf: flipped}
                    try:
                        other = certificate_of(construction, params, actions)
                    except ValueError:
                        refused += 1
                        continue
                    changed += 1
                    assert (other.records, other.limits) != (good.records, good.limits)
                    assert other.weights != good.weights
    assert refused > changed > 0


def run_from(construction, machine, *, count, head, steps, cell=None):
    """Decodes from a state in the middle of a run, as if ``count`` tokens had been read.

    The head stands on cell ``head``; the sum of all moves and the visits of cell ``cell`` (as many
    as there were tokens) are put into the memories, where decoding would have put them.
    """
    model, params = load(construction)
    decoder = Decoder(model, params, engine="cached")
    prompt = construction.encode({"machine": machine, "tape": ""})
    state = decoder.start(prompt)
    memories = [[dict(memory) for memory in row] for row in state.memories]
    (mean,) = (m for row in memories for m in row if "total" in m)
    (tape,) = (m for row in memories for m in row if "table" in m)
    mean["total"] = mean["total"] + head
    if cell is not None:
        offset = construction.params["embed"][0, construction.residual.column("read_address")]
        place = int(offset) + cell
        tape["table"] = tape["table"].at[place, -1].set(count)
    # The token to come is the first step of the machine, which stands on a blank cell.
    state = state._replace(memories=memories, position=state.position * 0 + count)
    return decoder.advance(state, steps)[1]


def expected_of(construction, machine, steps):
    return construction.machine.transcribe(machine.run("", steps))[:steps]


@pytest.mark.parametrize("size", [(2**20, 2**19), (2**26, 2**15)])
def test_steps_are_right_up_to_the_limit_and_wrong_two_octaves_beyond(size):
    steps, cells = size
    construction = universal(states=2, steps=steps, cells=cells)
    limit = construction.certificate.limits["steps"]
    expected = expected_of(construction, BLINK, 64)
    at_limit = run_from(construction, BLINK, count=limit - 64, head=0, steps=64, cell=0)
    np.testing.assert_array_equal(at_limit, expected)
    beyond = run_from(construction, BLINK, count=4 * limit, head=0, steps=64, cell=0)
    assert (beyond != expected).any()
    with pytest.raises(ValueError, match="steps: expected at most"):
        construction.encode({"machine": BLINK, "tape": "", "steps": 2 * limit})


@pytest.mark.parametrize("size", [(2**20, 2**19), (2**26, 2**15)])
@pytest.mark.parametrize("machine", [RIGHT, LEFT])
def test_cells_are_right_up_to_the_limit_and_seen_to_be_lost_beyond(size, machine):
    steps, cells = size
    construction = universal(states=2, steps=steps, cells=cells)
    cells = construction.certificate.limits["cells"]
    limit = construction.certificate.limits["steps"]
    sign = 1 if machine is RIGHT else -1
    # 64 steps lead to the last certified cell.
    start = sign * (cells - 1 - 64)
    at_limit = run_from(construction, machine, count=limit - 64, head=start, steps=64)
    np.testing.assert_array_equal(at_limit, expected_of(construction, machine, 64))
    with pytest.raises(InputError, match="an address left the range of its codes"):
        run_from(construction, machine, count=limit - 128, head=start, steps=66)


def test_digits_are_exact_on_every_address_within_the_tolerance():
    """The layers that split addresses, run on all of them with the certified error added."""
    construction = universal(states=2, steps=1000, cells=512, base=4)
    params, residual = construction.params, construction.residual
    tolerance = min(r.margin for r in construction.certificate.records if "digit" in r.kind)
    n = residual.sizes["read_digits"]
    size = 4**n
    rng = np.random.default_rng(2)
    error = rng.uniform(-0.99, 0.99, size) * tolerance
    x = np.zeros((size, residual.width), np.float32)
    x[:, residual.column("read_address")] = np.arange(size) + error
    for i in range(1, n + 1):
        leaf = f"layer_{i}."
        gate = np.clip(x @ params[leaf + "w_gate"] + params[leaf + "b_gate"], 0, 1)
        x = x + (gate * params[leaf + "b_up"]) @ params[leaf + "w_down"]
    digits = np.arange(size)[:, None] // 4 ** np.arange(n) % 4
    np.testing.assert_array_equal(x[:, residual["read_digits"]], digits)
    np.testing.assert_array_equal(x[:, residual.column("read_square")], (digits**2).sum(axis=1))


def test_coins_are_part_of_the_machine_and_of_its_certificate():
    plain, fair = (universal(states=2, symbols=3, steps=500, coins=c) for c in (False, True))
    changed = fair.params["w_out"] != plain.params["w_out"]
    assert changed.sum() == 2
    others = plain.params.keys() - {"w_out"}
    assert all((plain.params[leaf] == fair.params[leaf]).all() for leaf in others)
    assert fair.certificate.limits == plain.certificate.limits
    assert fair.certificate.records[:-1] == plain.certificate.records
    assert fair.certificate.records[-1].kind == "coin"
    # Neither certifies the other's weights, nor a loaded coin.
    loaded = fair.params | {"w_out": np.where(changed, 1023, fair.params["w_out"])}
    for which, params in ((plain, fair.params), (fair, plain.params), (fair, loaded)):
        with pytest.raises(ValueError, match=r"universal: w_out\[\d+, \d+\]: expected"):
            which.certify(which.spec, params)
    with pytest.raises(ValueError, match="at least 3 symbols, got 2"):
        universal(states=2, symbols=2, coins=True)


def test_a_certificate_is_of_the_weights_that_it_was_computed_from():
    construction = universal(states=2, symbols=2, steps=500)
    spec, certificate = construction.spec, construction.certificate
    params = construction.params | {
        "layer_0.w_v": np.zeros_like(construction.params["layer_0.w_v"])
    }
    with pytest.raises(ValueError, match="universal: layer_0.w_v"):
        construction.certify(spec, params)
    with pytest.raises(ValueError, match="cannot be specified with replace"):
        replace(certificate, weights=digest(spec, params))
    # A copy with other limits is one of no weights: decoding takes no addresses from it.
    copied = replace(certificate, limits={"steps": 10**9, "cells": 10**9})
    assert copied.weights == ""
    leaves = construction.params
    assert make_plan(spec, leaves, copied) == make_plan(spec, leaves, None)
    assert make_plan(spec, leaves, certificate) != make_plan(spec, leaves, None)
    assert make_plan(spec, params, certificate) == make_plan(spec, params, None)
