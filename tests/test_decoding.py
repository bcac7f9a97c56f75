"""Decoding: every engine gives the tokens of the forward pass, whatever the transformer."""

from __future__ import annotations

import warnings
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import ARCHITECTURES
from cases_machines import BB5, random_case

from constructions import CONSTRUCTIONS, Layer, TransformerSpec, TuringMachine, blank
from constructions.certificate import digest
from constructions.machines.single import single
from constructions.machines.universal import universal
from constructions.support import unsupported
from icl_sim.decoding import Decoder, generate, generate_batch, matrices, verify_trace
from icl_sim.decoding import decoder as decoder_module
from icl_sim.decoding.plan import make_plan
from icl_sim.errors import InputError
from icl_sim.transformer import Transformer, forward, load

SIZE = {"states": 2, "steps": 2000, "cells": 60}
BB2 = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ")


@pytest.fixture(scope="module")
def small():
    return universal(**SIZE)


jitted = jax.jit(forward, static_argnums=0)


def greedy(spec, params, prompt, steps, length=16):
    """The definition: the whole forward pass for every token."""
    tokens = list(prompt)
    for _ in range(steps):
        # Later tokens change nothing before them: one shape, one compilation.
        padded = np.array(tokens + [0] * (length - len(tokens)), np.int32)
        tokens.append(int(jitted(spec, params, padded)[len(tokens) - 1].argmax()))
    return tokens[len(prompt) :]


def decodable(spec):
    causal = all(layer.mask == "causal" for layer in spec.layers)
    known = not unsupported(spec, known=matrices.KNOWN)  # test_switches sees the others refused
    return known and causal and spec.inputs == "tokens" and spec.input_size >= spec.output_size


@pytest.mark.parametrize(
    "name", [name for name, case in ARCHITECTURES.items() if decodable(case.spec)]
)
def test_any_transformer_decodes_as_its_forward_pass_says(name):
    case = ARCHITECTURES[name]
    model = Transformer(case.spec)
    params = {leaf: w / 4 for leaf, w in case.params().items()}
    prompt = case.inputs(5)
    expected = greedy(case.spec, params, prompt, 6)
    plan = make_plan(case.spec, params, None)
    for engine in ("dense", "cached") if plan.dense_heads() else ("cached", "specialised"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)
            found = generate(model, params, prompt, steps=6, engine=engine)
        assert found.tolist() == expected, engine


def offset_spec(attend):
    layers = (
        Layer(heads=2, key_size=1, value_size=4, window=5, attend=attend),
        Layer(heads=1, key_size=1, value_size=4, hidden=6, attend=attend),
    )
    return TransformerSpec(
        input_size=4, width=8, output_size=4, layers=layers, positions=("index",)
    )


def offset_params(spec, rng):
    """Offset heads (3 and 1 places back), a mean head, and an MLP on top."""
    params = {
        name: rng.normal(size=leaf.shape).astype(np.float32) for name, leaf in blank(spec).items()
    }
    params["positions"] *= np.float32(0.01)
    for i in range(2):
        params[f"layer_{i}.w_q"][:] = 0
    params["layer_0.bias"][:] = 0
    params["layer_0.bias"][0, 3] = params["layer_0.bias"][1, 1] = 50
    return params


@pytest.mark.parametrize("attend", ["softmax", "hardmax"])
def test_offset_and_mean_heads_are_found_in_any_weights(attend):
    spec = offset_spec(attend)
    for seed in range(2):
        params = offset_params(spec, np.random.default_rng(seed))
        plan = make_plan(spec, params, None)
        kinds = [[(head.kind, head.offset) for head in heads] for heads in plan.heads]
        assert kinds == [[("offset", 3), ("offset", 1)], [("mean", 0)]]
        model = Transformer(spec)
        prompts = [[1], [0, 2], [3, 1, 2, 0, 1, 1]]
        for prompt in prompts:
            expected = greedy(spec, params, prompt, 8)
            for engine in ("dense", "cached", "specialised"):
                found = generate(model, params, prompt, steps=8, engine=engine)
                assert found.tolist() == expected, (engine, prompt)
        for engine in ("cached", "specialised"):
            found = generate_batch(model, params, prompts, steps=8, engine=engine)
            assert [lane.tolist() for lane in found] == [
                greedy(spec, params, prompt, 8) for prompt in prompts
            ]


def test_offset_heads_must_stand_alone():
    spec = offset_spec("softmax")
    params = offset_params(spec, np.random.default_rng(0))

    def kinds(**bias):
        changed = params | {"layer_0.bias": params["layer_0.bias"].copy()}
        for place, value in bias.items():
            changed["layer_0.bias"][0, int(place[1:])] = value
        return make_plan(spec, changed, None).heads[0][0].kind

    assert kinds() == "offset"
    assert kinds(_3=20) == "dense"  # too soft: the others keep a weight that counts
    assert kinds(_0=1) == "dense"  # uneven: early tokens have no plain mean
    assert kinds(_4=50) == "dense"  # two distances at once
    assert kinds(_3=0, _4=50) == "dense"  # the last entry is all larger distances
    assert kinds(_3=0) == "mean"


def test_addressed_heads_need_the_certificate_of_these_very_weights(small):
    params = small.params
    plan = make_plan(small.spec, params, small.certificate)
    assert [head.kind for heads in plan.heads for head in heads] == [
        "mean",
        "addressed",
        "addressed",
    ]
    assert plan.dense_heads() == []
    without = make_plan(small.spec, params, None)
    assert without.dense_heads() == ["layer 5 head 0", "layer 6 head 0"]
    other = dict(params)
    other["w_out"] = other["w_out"] + np.eye(1, other["w_out"].size, dtype=np.float32).reshape(
        other["w_out"].shape
    )
    assert digest(small.spec, other) != small.certificate.weights
    assert make_plan(small.spec, other, small.certificate) == make_plan(small.spec, other, None)
    soft = replace(small.spec, loops=2)
    assert make_plan(soft, params, small.certificate).dense_heads()


def test_heads_of_no_known_kind_are_decoded_densely_with_a_warning(small):
    params = small.params
    bare = Transformer(small.spec)
    prompt = small.encode({"machine": BB2, "tape": ""})
    expected = small.machine.transcribe(BB2.run("", 100))
    with pytest.warns(UserWarning, match="layer 5 head 0, layer 6 head 0: of no known kind"):
        found = generate(bare, params, prompt, steps=10, engine="cached", stop=small.machine.stop)
    np.testing.assert_array_equal(found, expected)
    with pytest.warns(UserWarning, match="not specialised but cached: layer 5 head 0"):
        found = generate(
            bare, params, prompt, steps=10, engine="specialised", stop=small.machine.stop
        )
    np.testing.assert_array_equal(found, expected)
    with pytest.raises(InputError, match="lanes need heads of known kinds"):
        generate_batch(bare, params, [prompt], steps=10)
    lookup = CONSTRUCTIONS["lookup"](vocab=3)
    problem = lookup.encode({"stream": [0, 1, 2, 0, 1]})
    with pytest.warns(UserWarning, match="layer 1 head 0: of no known kind"):
        found = generate(*load(lookup), problem, steps=6)
    assert found.tolist() == [2, 0, 1, 2, 0, 1]


def test_certified_scores_point_where_addresses_do(small):
    """The dense attention weights of real runs, against the codes of queries and keys."""
    machine = TuringMachine.from_bbchallenge("1RB0LA_1LA1RB")
    trace = machine.run("1101", 60)
    assert trace.steps == 60
    prompt = small.encode({"machine": machine, "tape": "1101"})
    sequence = np.concatenate([prompt, small.machine.transcribe(trace)])
    x = small.params["embed"][sequence].astype(np.float64)
    index = np.arange(len(sequence))
    x = x + np.stack([index, index**2], 1) @ small.params["positions"]
    leaves = {name: leaf.astype(np.float64) for name, leaf in small.params.items()}
    causal = np.tril(np.ones((len(sequence),) * 2, bool))
    addresses = {record.part: record.address for record in small.certificate.records}
    checked = 0
    for i, layer in enumerate(small.spec.layers):
        leaf = f"layer_{i}."
        if layer.heads:
            q, k = x @ leaves[leaf + "w_q"][0], x @ leaves[leaf + "w_k"][0]
            scores = np.where(causal, layer.scale * q @ k.T, -np.inf)
            weight = np.exp(scores - scores.max(axis=1, keepdims=True))
            address = addresses.get(f"layer_{i} head 0")
            if address:
                codes = q @ np.array(address.query), k @ np.array(address.key)
                for t in np.flatnonzero(codes[0] > 0):
                    same = causal[t] & (codes[1] == codes[0][t])
                    assert (weight[t, same] == 1).all()
                    others = weight[t, causal[t] & ~same]
                    # Without a match the one default token wins, and all others are far below.
                    others = others if same.any() else np.sort(others)[:-1]
                    assert (others <= max(address.default * (1 + 1e-9), np.exp(-64))).all()
                    checked += same.any()
            out = (weight / weight.sum(axis=1, keepdims=True)) @ x @ leaves[leaf + "w_v"][0]
            x = x + out @ leaves[leaf + "w_o"][0]
        if layer.hidden:
            gate = np.clip(x @ leaves[leaf + "w_gate"] + leaves[leaf + "b_gate"], 0, 1)
            up = x @ leaves[leaf + "w_up"] + leaves[leaf + "b_up"]
            x = x + (gate * up) @ leaves[leaf + "w_down"]
    assert checked > 60


def test_decoding_can_stop_and_go_on(small):
    prompt = small.encode({"machine": BB2, "tape": ""})
    expected = small.machine.transcribe(BB2.run("", 100))
    for engine in ("cached", "specialised"):
        decoder = Decoder(*load(small), engine=engine, stop=small.machine.stop)
        state = decoder.start(prompt)
        leaves, structure = jax.tree.flatten(state)
        found = []
        for steps in (2, 3, 50):
            # What a store would keep: plain arrays.
            state = jax.tree.unflatten(structure, [jnp.asarray(np.asarray(x)) for x in leaves])
            state, tokens = decoder.advance(state, steps)
            leaves = jax.tree.leaves(state)
            found.extend(tokens.tolist())
        assert found == expected.tolist()
        assert bool(state.done)
        assert decoder.advance(state, 5)[1].size == 0


def test_what_was_compiled_before_is_not_compiled_under_the_clock(small):
    decoder = Decoder(*load(small), engine="cached", stop=small.machine.stop)
    state = decoder.start(small.encode({"machine": BB2, "tape": ""}))
    decoder.compile(state, 100)
    compiled = decoder_module._advance._cache_size()
    assert (
        decoder.advance(state, 70)[1].tolist()
        == small.machine.transcribe(BB2.run("", 100)).tolist()
    )
    assert decoder_module._advance._cache_size() == compiled


def test_memory_does_not_grow_with_the_number_of_steps(small):
    decoder = Decoder(*load(small), engine="specialised")
    prompt = small.encode({"machine": BB2, "tape": ""})
    state = decoder.start(prompt)
    after, _ = decoder.advance(state, 1000)
    shapes = jax.tree.map(jnp.shape, state), jax.tree.map(jnp.shape, after)
    assert shapes[0] == shapes[1]


def test_the_end_stays_the_end(small):
    prompt = small.encode({"machine": BB2, "tape": ""})
    for engine in ("dense", "cached", "specialised"):
        found = generate(*load(small), prompt, steps=20, engine=engine)
        assert found[6:].tolist() == [small.machine.stop] * 14


def test_one_flipped_token_is_found(small):
    machine = single(machine=TuringMachine.from_bbchallenge(BB5), steps=5000, cells=500)
    trace = TuringMachine.from_bbchallenge(BB5).run("", 3000)
    for place in (0, 1, 1234, 2998):
        codes = trace.codes.copy()
        codes[place] ^= 1
        flipped = replace(trace, codes=codes)
        for engine in ("cached", "specialised"):
            result = verify_trace(machine, flipped, tape="", engine=engine, block=1024)
            assert not result.agrees
            assert result.mismatches >= 1
            assert result.first == place
            assert result.steps == 3000
    assert verify_trace(machine, trace, tape="", block=1024).agrees


def test_a_trace_may_come_in_pieces(small):
    whole = BB2.run("", 100)
    for block in (1, 2, 5, 64):
        for piece in (1, 3, 100):
            pieces = BB2.run_blocks("", 100, block=piece)
            result = verify_trace(small, pieces, tape="", block=block)
            assert result.agrees
            assert result.steps == whole.steps + 1
    with pytest.raises(InputError, match="tape: expected the input tape"):
        verify_trace(small, BB2.run_blocks("", 100))
    with pytest.raises(InputError, match="expected all 6 steps recorded, got 0"):
        verify_trace(small, BB2.run("", 100, record=False))
    with pytest.raises(InputError, match="lookup: expected a machine construction"):
        verify_trace(CONSTRUCTIONS["lookup"](), whole)
    with pytest.raises(ValueError, match="steps: expected at most"):
        verify_trace(small, replace(whole, steps=10**9, codes=np.zeros(10**9, np.bool_)))


def test_a_run_that_leaves_the_tape_is_refused():
    construction = universal(states=2, steps=2000, cells=8, base=4)
    right = TuringMachine("right", ("a",), ("0", "1"), "0", "a", {("a", "0"): ("a", "1", 1)})
    prompt = construction.encode({"machine": right, "tape": ""})
    model, params = load(construction)
    for engine in ("cached", "specialised"):
        with pytest.raises(InputError, match="an address left the range of its codes"):
            generate(model, params, prompt, steps=20, engine=engine)
        with pytest.raises(InputError, match="an address left the range of its codes"):
            generate_batch(model, params, [prompt] * 2, steps=20, engine=engine)
    result = verify_trace(construction, right.run_blocks("", 20), tape="", block=32)
    assert result.lost
    assert not result.agrees
    with pytest.raises(ValueError, match="cells: expected at most 8"):
        verify_trace(construction, right.run("", 20))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            {"engine": "fast"},
            "engine: expected one of dense, cached, specialised, native, got 'fast'",
        ),
        ({"prompt": [0, 10**6]}, "prompt: expected tokens from 0 to"),
        ({"prompt": []}, r"prompt: expected integers \[T\], T >= 1"),
        ({"prompt": [0.5]}, "prompt: expected integers"),
    ],
)
def test_bad_requests_are_refused_in_one_line(small, change, reason):
    request = {"prompt": [0, 1], "engine": "cached"} | change
    with pytest.raises(InputError, match=reason) as caught:
        generate(*load(small), request["prompt"], steps=1, engine=request["engine"])
    assert "\n" not in str(caught.value)


def test_machines_of_different_prompts_compile_once(small):
    before = decoder_module._advance._cache_size()
    rng = np.random.default_rng(8)
    decoder = Decoder(*load(small), stop=small.machine.stop)
    for _ in range(5):
        machine, tape = random_case(rng, states=2, symbols=2, cells=20)
        _, found = decoder.advance(
            decoder.start(small.encode({"machine": machine, "tape": tape})), 48
        )
        expected = small.machine.transcribe(machine.run(tape, 47))
        np.testing.assert_array_equal(found[: len(expected)], expected)
    assert decoder_module._advance._cache_size() <= before + 1
