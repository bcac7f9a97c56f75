from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from constructions.programs.named import PROGRAMS
from constructions.programs.program import from_table
from constructions.programs.subleq import wrap
from constructions.programs.tag_system import UNIVERSAL_MACHINE, TagSystem


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_answer_their_samples_as_their_oracles_do(name):
    program = PROGRAMS[name]
    assert program.name == name == program.machine.name
    for tape in program.inputs:
        trace = program.machine.run(tape, program.max_steps, record=False)
        assert trace.halted
        assert program.answer(trace) == program.oracle(tape)


def words(alphabet, longest):
    return ("".join(w) for n in range(longest + 1) for w in product(alphabet, repeat=n))


@pytest.mark.parametrize(
    ("name", "tapes"),
    [
        ("parity", words("01", 8)),
        ("dyck", words("()", 10)),
        ("increment", words("01", 8)),
        ("unary-addition", ["1" * a + "+" + "1" * b for a in range(9) for b in range(9)]),
        (
            "binary-addition",
            [f"{a}+{b}" for a in words("01", 4) for b in words("01", 4) if a and b],
        ),
        ("palindrome", words("01", 8)),
        ("copy", words("01", 6)),
    ],
)
def test_small_programs_are_right_on_every_short_input(name, tapes):
    program = PROGRAMS[name]
    for tape in tapes:
        trace = program.machine.run(tape, 10_000, record=False)
        assert trace.halted
        assert program.answer(trace) == program.oracle(tape), tape


def test_programs_fit_the_universal_sizes_they_are_meant_for():
    sizes = {n: (len(p.machine.working), len(p.machine.alphabet)) for n, p in PROGRAMS.items()}
    assert {n for n, (q, s) in sizes.items() if q <= 8 and s <= 2} == {"bb2", "bb3", "bb4", "bb5"}
    assert {n for n, (q, s) in sizes.items() if not (q <= 8 and s <= 4)} == {
        "binary-addition",
        "copy",
    }
    assert sizes["binary-addition"] == (8, 6)
    assert sizes["copy"] == (9, 3)
    assert sizes["universal"] == (8, 4)


def test_the_universal_machine_runs_random_tag_systems_to_their_halt():
    rng = np.random.default_rng(1)
    halted = 0
    while halted < 40:
        letters = "abcd"[: rng.integers(1, 5)]
        productions = {
            letter: "".join(rng.choice([*letters, "H"], size=rng.integers(4))) for letter in letters
        }
        if "H" not in "".join(productions.values()):
            continue
        system = TagSystem(productions)
        word = "".join(rng.choice(list(letters), size=rng.integers(2, 6)))
        final = system.run(word, 30)
        if final is None:
            continue
        trace = UNIVERSAL_MACHINE.run(system.encode(word), 10**7, record=False)
        assert system.word(system.encode(word)) == word
        assert trace.halted
        assert system.decode(trace) == final
        halted += 1


def test_the_universal_machine_does_not_halt_when_the_tag_system_loops():
    system = TagSystem({"a": "aa", "b": "H"})
    assert system.run("aaa", 1000) is None
    assert not UNIVERSAL_MACHINE.run(system.encode("aaa"), 100_000, record=False).halted


def test_a_tag_system_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"one letter without production, got 2: .'G', 'H'"):
        TagSystem({"a": "GH"})
    with pytest.raises(ValueError, match="one letter without production, got 0"):
        TagSystem({"a": "a"})
    with pytest.raises(ValueError, match=r"single characters, got .'ab'"):
        TagSystem({"ab": "H", "a": "b", "b": "a"})
    with pytest.raises(ValueError, match=r"letters .'x'. are not among"):
        TagSystem({"a": "H"}).encode("ax")


def test_tables_read_several_symbols_and_keep_what_is_not_named():
    machine = from_table("m", "go  ab:R  (:)L back  _:S stop\nback  a:bR", blank="_")
    assert machine.delta["go", "a"] == ("go", "a", 1)
    assert machine.delta["go", "("] == ("back", ")", -1)
    assert machine.delta["go", "_"] == ("stop", "_", 0)
    assert machine.delta["back", "a"] == ("back", "b", 1)
    assert machine.start == "go"
    assert machine.working == ("go", "back")


@pytest.mark.parametrize("bits", [2, 8, 16])
def test_subleq_words_wrap_around_in_two_s_complement(bits):
    half = 1 << (bits - 1)
    assert [wrap(value, bits) for value in (half - 1, half, -half, -half - 1, 2 * half)] == [
        half - 1,
        -half,
        -half,
        half - 1,
        0,
    ]
