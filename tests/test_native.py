"""The native engine: the specialised form's tokens and state, exactly, without XLA's loop."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases_machines import random_case

from constructions import CONSTRUCTIONS
from constructions.construction import machine_io
from icl_sim import InputError, emulate, find_machine, generate, load
from icl_sim.decoding import Decoder, native, recall, verify_trace
from icl_sim.decoding.decoder import Weights, _advance

BUILT = CONSTRUCTIONS["universal"](steps=2**20, cells=2**12)


@pytest.fixture(autouse=True)
def needs_llvm(request):
    if "without_llvm" not in request.node.name:
        pytest.importorskip("llvmlite")


def state_after(engine, prompt, parts):
    """Tokens and state after decoding in parts."""
    decoder = Decoder(*load(BUILT), engine=engine, stop=machine_io(BUILT).stop)
    state, tokens = decoder.start(prompt), []
    for steps in parts:
        state, found = decoder.advance(state, steps)
        tokens.append(found)
    return np.concatenate(tokens), jax.tree.map(np.asarray, state)


def test_tokens_and_state_are_those_of_the_specialised_engine():
    prompt = BUILT.encode({"machine": find_machine("bb5"), "tape": ""})
    (wanted, there), (found, here) = (
        state_after(engine, prompt, (1, 999, 4000)) for engine in ("specialised", "native")
    )
    assert np.array_equal(found, wanted)
    jax.tree.map(np.testing.assert_array_equal, here, there)
    assert [x.dtype for x in jax.tree.leaves(here)] == [x.dtype for x in jax.tree.leaves(there)]


def test_a_halt_ends_both_alike_and_nothing_follows():
    prompt = BUILT.encode({"machine": find_machine("bb3"), "tape": ""})
    for engine in ("specialised", "native"):
        tokens, state = state_after(engine, prompt, (500, 500))
        assert tokens[-1] == machine_io(BUILT).stop
        assert len(tokens) == 22
        assert state.done


@pytest.mark.parametrize("seed", range(6))
def test_random_machines_run_as_the_interpreter_has_them(seed):
    machine, tape = random_case(np.random.default_rng(seed), states=4, symbols=2, cells=40)
    found = emulate(machine, "".join(tape), engine="native", max_steps=2000, cells=2**11)
    assert found.agrees
    assert found.engine == "native"


def test_a_machine_in_the_weights_runs_natively_too():
    machine = find_machine("bb4")
    found = emulate(machine, construction="single", engine="native", max_steps=500)
    assert (found.steps, found.halted, found.agrees) == (107, True, True)


def test_an_older_state_is_not_changed_by_going_on():
    prompt = BUILT.encode({"machine": find_machine("bb5"), "tape": ""})
    decoder = Decoder(*load(BUILT), engine="native")
    state, _ = decoder.advance(decoder.start(prompt), 500)
    first = decoder.advance(state, 300)[1]
    assert np.array_equal(decoder.advance(state, 300)[1], first)


def test_an_address_out_of_range_is_refused():
    small = CONSTRUCTIONS["universal"](states=2, steps=1000, cells=8)
    model, params = load(small)
    prompt = small.encode({"machine": find_machine("1RA1RA"), "tape": "", "steps": 5})
    with pytest.raises(InputError, match="an address left the range"):
        generate(model, params, prompt, steps=1000, engine="native")


def test_learners_and_lanes_are_refused_in_one_line():
    with pytest.raises(InputError, match="lanes: expected one sequence"):
        Decoder(*load(BUILT), engine="native", lanes=2)
    learner = CONSTRUCTIONS["lookup"](vocab=2)
    with (
        pytest.warns(UserWarning, match="not native but cached"),
        pytest.raises(InputError, match="partially evaluated"),
    ):
        Decoder(*load(learner), engine="native").native()


def test_without_llvm_the_engine_is_refused_in_one_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "llvmlite", None)
    with pytest.raises(InputError, match=r"pip install 'icl-sim\[native\]'"):
        emulate(find_machine("bb2"), engine="native", max_steps=50)


def in_both(weights, steps=2000):
    """Tokens of other weights under one plan, natively and by the specialised engine."""
    decoder = Decoder(*load(BUILT), engine="specialised")
    state = decoder.start(BUILT.encode({"machine": find_machine("bb5"), "tape": ""}))
    place = int(state.token), int(state.position)
    program = native.Program(decoder.plan, weights)
    _, found, _ = program.decode(state.memories, *place, steps=steps, stop=-1)
    known = Weights.of(decoder.plan, weights)
    limits = np.int32(steps), np.int32(-1)
    _, wanted, _ = _advance(decoder.plan, None, known, None, 2048, state, *limits)
    return found, np.asarray(wanted)[:steps]


def test_weights_inside_a_part_that_is_looked_up_are_felt():
    weights = {name: np.array(leaf) for name, leaf in BUILT.params.items()}
    right, there = in_both(weights)
    assert np.array_equal(right, there)
    weights["layer_4.w_down"][0] = 0  # a digit of the head's address is lost
    found, wanted = in_both(weights)
    assert np.array_equal(found, wanted)
    assert not np.array_equal(found, right)


def test_numbers_that_share_a_slot_are_told_apart(monkeypatch):
    for module in (recall, native):
        monkeypatch.setattr(module, "SLOTS", 4)
    found, wanted = in_both(BUILT.params)
    assert np.array_equal(found, wanted)


def test_the_digits_of_query_and_key_and_the_transition_are_the_parts():
    decoder = Decoder(*load(BUILT), engine="native")
    parts = decoder.native()._parts
    assert [len(part.results) for part in parts] == [1, 1, 3]
    assert [part.token is None for part in parts] == [True, True, False]
    assert min(len(part.equations) for part in parts) > 100


def test_a_transition_is_forgotten_with_the_prompt_that_it_comes_from():
    decoder = Decoder(*load(BUILT), engine="native", stop=machine_io(BUILT).stop)
    for name in ("bb4", "bb3", "bb4"):  # one program, one thread
        machine = find_machine(name)
        start = decoder.start(BUILT.encode({"machine": machine, "tape": ""}))
        wanted = machine_io(BUILT).transcribe(machine.run("", 200))
        assert np.array_equal(decoder.advance(start, 200)[1], wanted), name


def test_a_part_comes_behind_what_it_needs_and_before_what_needs_it():
    def trace(total, table, token, number):
        late = table[token, 0]  # of the token alone, between key and part
        found = number * jnp.float32(3)
        early = found + 1
        used = total + early
        for _ in range(recall.LEAST):
            found = found * late
        return used, table, found

    table, zero = np.full((300, 1), 0.5, np.float32), np.float32(0)
    jaxpr = jax.make_jaxpr(trace)(zero, table, np.int32(0), zero).jaxpr
    total, kept, token, number = jaxpr.invars
    steps = recall.split(jaxpr, token, [kept])
    known = {total, kept, token, number}
    (part,) = [step for step in steps if isinstance(step, recall.Part)]
    assert jaxpr.outvars[2] in part.results
    assert len(part.results) == 2
    for step in steps:
        inside = step.equations if isinstance(step, recall.Part) else [step]
        for equation in inside:
            needs = {atom for atom in equation.invars if not hasattr(atom, "val")}
            assert needs <= known
            known |= set(equation.outvars)


@pytest.mark.parametrize("planted", [None, 0, 700, 2999])
def test_verification_is_that_of_the_specialised_engine(planted):
    trace = find_machine("bb5").run("", 3000)
    if planted is not None:
        codes = trace.codes.copy()
        codes[planted] = (codes[planted] + 1) % 4
        trace = replace(trace, codes=codes)
    # In blocks of 512, so that the memories are handed on.
    here, there = (
        verify_trace(BUILT, trace, tape="", engine=engine, block=512)
        for engine in ("native", "specialised")
    )
    assert replace(here, seconds=0) == replace(there, seconds=0)
    assert here.agrees == (planted is None)


def test_a_table_read_after_it_was_written_is_refused():
    table = native.Table(None, (4, 2), np.dtype("i4"))
    before = native.Seen(table)
    table.version += 1
    with pytest.raises(native.UnsupportedCodeError, match="after it was written"):
        before.current()
    assert native.Seen(table).current() is table


# Compiles again and again, with 3 GiB of addresses taken between.
FAR_APART = """
import mmap
from icl_sim.decoding.native import _compile
numbers = ", ".join(["float 1.0"] * 1024)
code = f'''
@known = internal constant [1024 x float] [{numbers}]
@kept = global [1024 x float] zeroinitializer
define float @f(i64 %i) {{
  %p = getelementptr [1024 x float], ptr @known, i64 0, i64 %i
  %x = load float, ptr %p
  %y = fadd float %x, 0x3FB99999A0000000
  ret float %y
}}
'''
flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # addresses, and no memory
held = []
for i in range(300):
    held.append(mmap.mmap(-1, 1 << 16 if i % 3 else 3 << 30, flags=flags))
    held.append(_compile(code))
print("compiled")
"""


def test_code_reaches_its_numbers_wherever_they_are():
    done = subprocess.run(
        [sys.executable, "-c", FAR_APART], capture_output=True, text=True, timeout=100
    )
    assert done.stdout == "compiled\n", done.stderr
