"""The looped transformer: every engine against the SUBLEQ interpreter, and its certificate."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from constructions import reference
from constructions.machines.looped import build, columns, decode, looped
from constructions.machines.looped_reader import certify
from constructions.programs.subleq import SUBLEQ, Computer, assemble, run, wrap
from icl_sim.cli import run as run_command
from icl_sim.emulation import looped as engine
from icl_sim.emulation.looped import emulate_looped
from icl_sim.transformer import forward, load

SIZE = {"words": 16, "bits": 8}
jitted = jax.jit(forward, static_argnums=0)


def after(memory, counter, bits, steps):
    computer = Computer(np.array(memory), bits, counter)
    for _ in range(steps):
        computer.step()
    return {
        "memory": computer.memory.tolist(),
        "counter": computer.counter,
        "halted": computer.halted,
    }


def random_problem(rng, words=16, bits=8):
    """Any words are a program: it jumps about in its own memory and writes over itself."""
    half = 1 << (bits - 1)
    memory = rng.integers(-half, half, words)
    if rng.random() < 0.5:
        memory = rng.integers(0, words, words)  # fewer jumps to negative addresses: longer runs
    return {"memory": memory.tolist(), "counter": int(rng.integers(words))}


@pytest.mark.parametrize("name", sorted(SUBLEQ))
def test_programs_compute_their_function(name):
    program = SUBLEQ[name]
    for inputs in program.samples:
        memory = program.memory(inputs, bits=8)
        words = np.pad(memory, (0, 128 - len(memory)))
        *_, computer = run(words, bits=8, steps=5000)
        assert computer.halted
        assert program.answer(computer.memory.tolist(), inputs) == program.oracle(inputs)
    rng = np.random.default_rng(0)
    for _ in range(20):
        count = program.arity if program.arity is not None else int(rng.integers(8))
        inputs = rng.integers(0 if name == "fibonacci" else -20, 20, count).tolist()
        memory = program.memory(inputs, bits=16)
        *_, computer = run(np.pad(memory, (0, 128 - len(memory))), bits=16, steps=5000)
        assert computer.halted
        assert program.answer(computer.memory.tolist(), inputs) == program.oracle(inputs)


def test_the_interpreter_is_what_an_instruction_says():
    rng = np.random.default_rng(1)
    for _ in range(300):
        problem = random_problem(rng)
        memory, p = list(problem["memory"]), problem["counter"]
        a, b, c = (memory[(p + i) % 16] for i in range(3))
        memory[b % 16] = (memory[b % 16] - memory[a % 16] + 128) % 256 - 128
        jump = memory[b % 16] <= 0
        expected = {"memory": memory, "counter": (c if jump else p + 3) % 16}
        expected["halted"] = jump and c < 0
        assert after(problem["memory"], p, 8, 1) == expected
    assert [wrap(value, 4) for value in (7, 8, -8, -9)] == [7, -8, -8, 7]


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("a b", "'a' is neither a number nor a label"),
        ("x: 1 2 3\nx: 1 2", "line 2: 'x' is no new label"),
        ("1 2 3 4", "line 1: expected a b c"),
        ("9x: 1 2", "'9x' is no new label"),
    ],
)
def test_faults_of_assembly_are_named(source, reason):
    with pytest.raises(ValueError, match=reason):
        assemble(source)


@pytest.mark.parametrize("attend", ["softmax", "hardmax"])
def test_reference_jit_and_flax_agree_with_the_interpreter_on_random_memory(attend):
    construction = looped(**SIZE, loops=40, attend=attend)
    model, params = load(construction)
    apply = jax.jit(lambda inputs: model.apply({"params": params}, inputs))
    rng = np.random.default_rng(2)
    halted = 0
    for _ in range(30):
        problem = random_problem(rng)
        inputs = construction.encode(problem)
        expected = construction.oracle(problem)
        assert expected == after(problem["memory"], problem["counter"], 8, 40)
        exact = reference.forward(construction.spec, construction.params, inputs)
        assert construction.decode(exact) == expected
        assert construction.decode(jitted(construction.spec, params, inputs)) == expected
        assert construction.decode(apply(inputs)) == expected
        halted += expected["halted"]
    assert 5 < halted < 30  # both kinds of runs were seen


def test_exact_arithmetic_gives_the_same_words():
    construction = looped(**SIZE, loops=1, attend="hardmax")
    problem = random_problem(np.random.default_rng(3))
    outputs = reference.forward(
        construction.spec, construction.params, construction.encode(problem), exact=True
    )
    assert construction.decode(outputs) == construction.oracle(problem)


@pytest.mark.parametrize("name", sorted(SUBLEQ))
def test_named_programs_run_through_the_weights(name):
    program = SUBLEQ[name]
    for inputs in program.samples[:3]:
        tape = " ".join(map(str, inputs)) or str(program.samples[0])
        for kind in engine.LOOPED_ENGINES:
            found = emulate_looped(name, tape if inputs else "7", engine=kind)
            assert found.agrees
            assert found.halted
            assert found.answer == program.oracle(found.inputs)


@pytest.mark.slow
def test_a_hundred_thousand_loops_are_exact():
    found = emulate_looped("multiply", "1 32767")
    assert found.agrees
    assert (found.steps, found.answer) == (98_303, [32767])


def test_every_column_but_the_written_one_is_unchanged_bit_for_bit():
    construction = looped(**SIZE, loops=1)
    spec, (_, params) = construction.spec, load(construction)
    problem = {"memory": [3, 4, 9, 7, 30], "counter": 0}
    x = engine.embed(spec, params, construction.encode(problem))
    y = np.asarray(engine.loop(spec, params, x))
    changed = np.argwhere(np.asarray(x) != y)
    assert set(changed[:, 0].tolist()) == {4, 16}  # the word at b, and the state
    residual = construction.residual
    for name in ("value", "counter"):
        assert set(np.abs(y[: 16 if name == "value" else 17, residual[name]]).ravel()) <= {0, 1}
    scratch = residual.column("a")
    assert not y[:, scratch:].any()


def test_a_halted_computer_stays_as_it_is():
    construction = looped(**SIZE, loops=5)
    problem = {"memory": [9, 9, -5]}
    found = construction.decode(
        jitted(construction.spec, construction.params, construction.encode(problem))
    )
    assert found == construction.oracle(problem)
    assert found["halted"]
    assert found["counter"] == 11


def adversarial(rng, bits):
    """Words whose difference is decided by a carry through all bits."""
    half = 1 << (bits - 1)
    value = int(rng.integers(-half + 1, half - 1))
    return [3, 4, 9, value, value + int(rng.integers(-1, 2)), *[0] * 11]


@pytest.mark.parametrize(("bits", "wrong"), [(16, False), (23, False), (26, True)])
def test_words_at_the_limit_are_exact_and_beyond_it_they_are_seen_to_fail(bits, wrong):
    spec, params, residual = build(words=16, bits=bits, loops=1, temperature=64.0, attend="softmax")
    rng = np.random.default_rng(4)
    failures = 0
    for _ in range(40):
        memory = adversarial(rng, bits)
        found = decode(jitted(spec, params, columns(residual, np.array(memory), 0)))
        failures += found != after(memory, 0, bits, 1)
    assert (failures > 0) == wrong
    if wrong:
        with pytest.raises(ValueError, match=r"float32 does not certify words of 26 bits"):
            certify(spec, params, residual)
    else:
        assert certify(spec, params, residual).limits == {"words": 16, "bits": bits}
    with pytest.raises(ValueError, match=r"exact only below 16,777,216"):
        looped(words=16, bits=24)


@pytest.mark.parametrize(("temperature", "wrong"), [(5.0, False), (1.5, True)])
def test_the_coolest_certified_softmax_is_exact_and_a_warmer_one_is_seen_to_fail(
    temperature, wrong
):
    options = {"words": 16, "bits": 8, "temperature": temperature}
    spec, params, residual = build(**options, loops=300, attend="softmax")
    rng = np.random.default_rng(5)
    failures = 0
    for _ in range(10):
        memory = np.array(random_problem(rng)["memory"])
        found = decode(jitted(spec, params, columns(residual, memory, 0)))
        failures += found != after(memory, 0, 8, 300)
    assert (failures > 0) == wrong
    if not wrong:
        assert looped(**options).certificate.limits == {"words": 16, "bits": 8}
    with pytest.raises(ValueError, match="raise the temperature"):
        looped(words=16, bits=8, temperature=4.0)
    with pytest.raises(ValueError, match="the right column must win"):
        looped(words=16, bits=8, temperature=1.5)


@pytest.mark.parametrize(("dtype", "most"), [("bfloat16", 256), ("tf32", 2048)])
def test_coarse_arithmetic_is_refused_with_the_reason(dtype, most):
    with pytest.raises(ValueError, match=f"{dtype} does not certify .* only below {most:,}"):
        looped(dtype=dtype)
    assert looped(dtype="float64").certificate.dtype == "float64"


def test_every_planted_weight_error_fails_the_certificate():
    spec, params, residual = build(words=16, bits=8, loops=1, temperature=64.0, attend="softmax")
    certify(spec, params, residual)
    rng = np.random.default_rng(6)
    planted = 0
    for name, leaf in params.items():
        places = np.argwhere(leaf)
        empty = np.argwhere(leaf == 0)
        chosen = [*rng.permutation(places)[:12], *rng.permutation(empty)[:3]]
        for place in map(tuple, chosen):
            broken = params | {name: leaf.copy()}
            broken[name][place] = -leaf[place] or 1
            with pytest.raises(ValueError, match="looped: "):
                certify(spec, broken, residual)
            planted += 1
    assert planted > 150


def test_a_weight_error_is_also_seen_in_the_words():
    construction = looped(**SIZE, loops=20)
    rng = np.random.default_rng(7)
    problems = [random_problem(rng) for _ in range(10)]
    for name, place in (
        ("layer_1.w_gate", (construction.residual.column("first", 2), 4)),
        ("layer_4.w_k", (0, construction.residual.column("b", 1), 1)),
        ("layer_2.w_down", (5, construction.residual.column("difference", 1))),
    ):
        broken = construction.params | {name: construction.params[name].copy()}
        assert broken[name][place]
        broken[name][place] *= -1
        answers = [
            construction.decode(jitted(construction.spec, broken, construction.encode(problem)))
            for problem in problems
        ]
        assert answers != [construction.oracle(problem) for problem in problems]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"words": 48}, "words: expected a power of two from 16"),
        ({"words": 8}, "words: expected a power of two from 16"),
        ({"words": 256, "bits": 8}, r"to 2\^\(bits - 1\) = 128, got 256"),
        ({"temperature": 0.0}, "temperature: expected a positive number"),
        ({"dtype": "float8"}, "dtype: expected one of"),
    ],
)
def test_sizes_out_of_range_are_refused(options, reason):
    with pytest.raises(ValueError, match=reason):
        looped(**options)


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        ({"memory": [0] * 17}, "memory: expected 1 to 16 integers"),
        ({"memory": [128]}, "memory: expected words of 8 bits, -128 to 127, got 128"),
        ({"memory": [0], "counter": 16}, "counter: expected 0 to 15, got 16"),
        ({"memory": [0.5]}, "memory: expected 1 to 16 integers"),
    ],
)
def test_problems_out_of_range_are_refused(problem, reason):
    construction = looped(**SIZE)
    with pytest.raises(ValueError, match=reason):
        construction.encode(problem)


def test_the_command_gives_memory_instead_of_a_tape(capsys):
    arguments = ["emulate", "multiply", "--construction", "looped", "--tape", "6,7", "--json"]
    assert run_command(["icl-sim", *arguments]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found.keys() >= {
        *("machine", "construction", "engine", "steps", "halted", "memory", "answer"),
        *("certified_steps", "agrees", "steps_per_second"),
    }
    assert (found["answer"], found["agrees"], found["halted"]) == ([42], True, True)
    assert run_command(["icl-sim", *arguments, "--max-steps", "5"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["steps"], found["halted"], found["answer"]) == (5, False, None)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("bb5",), "add, fibonacci, multiply, sort"),
        (("add", "--tape", "1 x"), "numbers such as"),
        (("add", "--tape", "1"), "2 inputs"),
        (("add", "--tape", "40000 1"), "whose sum is a word"),
        (("fibonacci", "--tape", "-1"), "n >= 0"),
        (("sort", "--tape", " ".join(["1"] * 1000)), "fewer inputs"),
        (("add", "--engine", "cached"), "dense, verify"),
        (("add", "--max-steps", "0"), "--max-steps"),
        (("add", "--trace", "x.html"), "--trace"),
    ],
)
def test_bad_requests_are_one_line(capsys, arguments, word):
    assert run_command(["icl-sim", "emulate", *arguments, "--construction", "looped"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert word in captured.err
