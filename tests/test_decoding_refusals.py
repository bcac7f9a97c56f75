"""What decoding and verification refuse, or find, instead of answering something else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from cases import ARCHITECTURES
from test_decoding import decodable

from constructions import CONSTRUCTIONS, TuringMachine
from icl_sim.decoding import Decoder, generate, generate_batch, verify_trace
from icl_sim.errors import InputError
from icl_sim.transformer import Transformer, load

BB2 = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ")


@pytest.fixture(scope="module")
def small():
    return CONSTRUCTIONS["universal"](states=2, steps=1000, cells=100)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("halted", False), ("state", "A"), ("head", 1), ("head", 10), ("cells", [1, 1, 0, 1])),
        *(("cells", [1, 1, 1, 1, 0]), ("tape_start", -1), ("tape_start", -3)),
    ],
)
def test_a_trace_that_ends_elsewhere_than_its_steps_lead_is_found(small, field, value):
    trace = BB2.run("", 100)
    assert np.array_equal(trace.cells, [1, 1, 1, 1])
    value = np.array(value, np.uint8) if field == "cells" else value
    altered = replace(trace, **{field: value})
    for pieces in (altered, [altered]):
        found = verify_trace(small, pieces, tape="", block=64)
        assert found.stray[:1] == (field,)
        assert not found.agrees


def test_codes_that_are_no_rules_are_refused_in_one_line(small):
    trace = BB2.run("", 100)
    wrong = replace(trace, codes=trace.codes + 100)
    for tape in (None, ""):
        with pytest.raises(InputError, match="trace: expected codes of the machine's rules"):
            verify_trace(small, wrong, tape=tape, block=64)
    with pytest.raises(InputError, match="expected at least one piece"):
        verify_trace(small, [], tape="")
    for odd in (5, [5], [trace, None], "trace"):
        with pytest.raises(InputError, match="expected a Trace or its pieces in order, got"):
            verify_trace(small, odd, tape="", block=64)
    for block in (0, -1):
        with pytest.raises(InputError, match="block: expected at least 1"):
            verify_trace(small, trace, block=block)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"prompt": [0, 2**32 + 1]}, "prompt: expected tokens from 0 to"),
        ({"steps": -1}, "steps: expected an integer of at least 0, got -1"),
        ({"steps": 1.5}, "steps: expected an integer, got 1.5"),
        ({"stop": 1.5}, "stop: expected an integer or None, got 1.5"),
        ({"stop": -1}, "stop: expected a token from 0 to"),
        ({"stop": 2**32}, "stop: expected a token from 0 to"),
    ],
)
def test_bad_requests_are_refused_in_one_line(small, change, reason):
    request = {"prompt": [0, 1], "steps": 1} | change
    with pytest.raises(InputError, match=reason):
        generate(*load(small), request.pop("prompt"), **request)
    request = {"prompt": [0, 1], "steps": 1} | change
    with pytest.raises(InputError, match=reason):
        generate_batch(*load(small), [request.pop("prompt")], **request)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("engine", ["dense", "cached", "specialised"])
def test_weights_that_are_not_finite_are_not_decoded(small, engine, value):
    model, params = load(small)
    params = params | {"w_out": params["w_out"].at[0, 0].set(value)}
    with pytest.raises(InputError, match="w_out: expected finite weights"):
        generate(model, params, [0, 1], steps=1, engine=engine)


def test_transformers_that_cannot_decode_are_refused():
    reasons = {
        "vectors": r"inputs vectors \(known: tokens\)",
        "prefix mask": r"layer 0: mask prefix \(known: causal\)",
        "prefix of nothing": r"layer 0: mask prefix \(known: causal\)",
        "relative bias and prefix": r"layer 0: mask prefix \(known: causal\)",
        # Switches of stock decoders, which the cache of keys and values decodes.
        "post norm": "post_norm True",
        "post layer norm": "post_norm True",
        "head norm": "layer 0: head_norm True",
        "rotary": "layer 0: rotary Rotary",
        "rotary linear": "layer 0: rotary Rotary",
        "rotary llama3": "layer 0: rotary Rotary",
        "rotary yarn": "layer 0: rotary Rotary",
        "equal layers": "layer 1: rotary Rotary",
        "grouped heads": "layer 0: kv_heads 2",
        "grouped heads, hardmax": "layer 0: kv_heads 1",
        "reach": "layer 0: reach 3",
        "plain mlp": "layer 0: mlp plain",
        "gelu": "layer 0: mlp plain",
        "mlp without bias": "layer 0: mlp_bias none",
        "mlp with every bias": "layer 0: mlp_bias all",
        "qkv bias": "layer 0: projection_bias qkv",
        "every projection bias": "layer 0: projection_bias all",
        "tied": "readout tied",
        "learned positions": "position_rows 14",
        "gpt2": "readout tied.*layer 1: mlp plain",
        "gemma": "post_norm True.*layer 1: kv_heads 2",
    }
    refused = {name for name, case in ARCHITECTURES.items() if not decodable(case.spec)}
    assert refused == set(reasons)
    for name, reason in reasons.items():
        case = ARCHITECTURES[name]
        with pytest.raises(InputError, match=f"cached decoding: .*{reason}"):
            Decoder(Transformer(case.spec), case.params())
