from __future__ import annotations

import time

import numpy as np
import pytest
from cases_machines import BB5, plain_run, random_case, records_of

from constructions.programs import macro_steps
from constructions.programs.turing import TuringMachine

FIELDS = ("steps", "halted", "state", "head", "tape_start", "tape")


def machine(delta, states=("a", "b"), alphabet=("_", "1"), blank="_", start="a"):
    return TuringMachine("m", states, alphabet, blank, start, delta)


def assert_same(trace, expected):
    assert {name: getattr(trace, name) for name in FIELDS} == {
        name: expected[name] for name in FIELDS
    }


def test_random_machines_run_as_the_definition_says():
    rng = np.random.default_rng(0)
    seen = {"halted": 0, "left": 0, "unfinished": 0, "far": 0}
    for _ in range(400):
        m, tape = random_case(rng)
        expected = plain_run(m, tape, 300)
        trace = m.run(tape, 300)
        assert_same(trace, expected)
        assert records_of(trace) == expected["records"]
        seen["halted"] += trace.halted
        seen["left"] += trace.tape_start < 0
        seen["unfinished"] += not trace.halted
        seen["far"] += len(trace.tape) > 64
    assert min(seen.values()) >= 20, seen  # all kinds occurred


def test_every_prefix_of_a_run_is_right():
    m = TuringMachine.from_bbchallenge(BB5)
    for limit in (0, 1, 2, 63, 64, 65, 500, 3001):
        assert_same(m.run("", limit), plain_run(m, "", limit))


def test_forgetting_visits_changes_nothing(monkeypatch):
    m = TuringMachine.from_bbchallenge(BB5)
    expected = m.run("", 20_000)
    monkeypatch.setattr(macro_steps, "_MEMORY", 2)
    monkeypatch.setattr(macro_steps, "_CHUNK", 5)
    trace = m.run("", 20_000)
    assert_same(trace, {name: getattr(expected, name) for name in FIELDS})
    assert np.array_equal(trace.codes, expected.codes)


def test_a_run_without_record_ends_in_the_same_place():
    m = TuringMachine.from_bbchallenge(BB5)
    trace = m.run("", 5000, record=False)
    assert_same(trace, plain_run(m, "", 5000))
    assert trace.codes.size == 0


@pytest.mark.parametrize("block", [1, 7, 64, 1000, 1 << 20])
def test_blocks_are_the_run_cut_in_pieces(block):
    rng = np.random.default_rng(block)
    for _ in range(10):
        m, tape = random_case(rng)
        whole = m.run(tape, 200)
        pieces = list(m.run_blocks(tape, 200, block=block))
        assert [len(p.codes) for p in pieces[:-1]] == [block] * (len(pieces) - 1)
        assert np.array_equal(np.concatenate([p.codes for p in pieces]), whole.codes)
        assert np.array_equal(np.concatenate([p.position for p in pieces]), whole.position)
        assert_same(pieces[-1], {name: getattr(whole, name) for name in FIELDS})


def test_entering_a_halting_state_counts_and_an_undefined_pair_does_not():
    enters = machine({("a", "_"): ("b", "1", 1)})
    trace = enters.run("", 10)
    assert (trace.steps, trace.halted, trace.state, trace.head) == (1, True, "b", 1)
    assert trace.tape == ["1", "_"]
    undefined = machine({("a", "_"): ("a", "1", 1), ("b", "_"): ("b", "_", 0)})
    trace = undefined.run("__1", 10)
    assert (trace.steps, trace.halted, trace.state, trace.head) == (2, True, "a", 2)


def test_halting_exactly_at_the_limit_is_halting():
    trace = machine({("a", "_"): ("b", "1", 1)}).run("", 1)
    assert (trace.steps, trace.halted) == (1, True)


@pytest.mark.parametrize("cells", [1, 63, 64, 65, 128])
def test_halting_exactly_at_the_limit_is_seen_at_any_cell(cells):
    walker = machine({("a", "1"): ("a", "1", 1)})
    assert walker.run("1" * cells, cells).halted
    assert not walker.run("1" * cells, cells - 1).halted


def test_a_start_without_rules_halts_at_once():
    trace = machine({}).run("1", 10)
    assert (trace.steps, trace.halted, trace.state, trace.head) == (0, True, "a", 0)
    assert (trace.tape, trace.tape_start) == (["1"], 0)


def test_no_steps_allowed_is_a_run_of_no_steps():
    trace = machine({("a", "_"): ("a", "_", 1)}).run("", 0)
    assert (trace.steps, trace.halted) == (0, False)


def test_the_tape_holds_only_what_the_head_visited():
    trace = machine({("a", "1"): ("b", "_", -1)}).run("1111", 10)
    assert (trace.tape, trace.tape_start, trace.head) == (["_", "_"], -1, -1)
    assert [trace.symbol(cell) for cell in (-2, -1, 0)] == ["_", "_", "_"]


def test_a_sequence_of_long_symbols_is_a_tape():
    m = machine({("a", "one"): ("a", "_", 1)}, alphabet=("_", "one"))
    assert m.run(["one", "one"], 9).steps == 2


def test_codes_put_the_start_and_the_blank_first_and_halting_states_last():
    m = machine(
        {("z", "1"): ("h", "_", 1), ("y", "_"): ("z", "1", -1)},
        states=("h", "z", "y"),
        alphabet=("1", "_"),
        start="y",
    )
    assert m.states == ("y", "z", "h")
    assert m.alphabet == ("_", "1")
    assert m.working == ("y", "z")
    assert m.rules.tolist() == [
        [1, 1, -1],
        [-1, 0, 0],
        [-1, 0, 0],
        [2, 0, 1],
        [-1, 0, 0],
        [-1, 0, 0],
    ]


def test_machines_compare_by_value_and_can_be_hashed():
    rules = {("a", "_"): ("b", "1", 1)}
    assert machine(rules) == machine(dict(rules))
    assert len({machine(rules), machine(rules)}) == 1
    assert machine(rules) != machine({})


def test_later_changes_to_the_rules_given_do_not_reach_the_machine():
    rules = {("a", "_"): ("b", "1", 1)}
    m = machine(rules)
    rules.clear()
    assert m.run("", 9).steps == 1


def test_every_fault_of_a_machine_is_named_at_once():
    with pytest.raises(ValueError, match="machine 'm'") as caught:
        TuringMachine(
            "m",
            ("a", "a", ""),
            ("0", "1"),
            "_",
            "s",
            {("q", "x"): ("r", "y", 2), ("a", "0"): ("a", "0", 1), ("a",): ("a", "0", 1)},
        )
    text = str(caught.value)
    for part in (
        "non-empty strings, got ''",
        "named twice: 'a'",
        "blank '_' is not a symbol",
        "start 's' is not a state",
        "('q', 'x') is for an unknown state",
        "('q', 'x') is for an unknown symbol",
        "unknown state 'r'",
        "unknown symbol 'y'",
        "moves 2, expected -1, 0 or +1",
        "('a',)",
    ):
        assert part in text
    assert "\n" not in text


def test_a_machine_without_states_or_symbols_is_refused():
    with pytest.raises(ValueError, match="no states; it has no symbols; the blank"):
        TuringMachine("m", (), (), "0", "A", {})


def test_more_symbols_than_a_byte_holds_are_refused():
    with pytest.raises(ValueError, match="at most 256 symbols, got 257"):
        TuringMachine("m", ("a",), tuple(map(str, range(257))), "0", "a", {})


def test_a_machine_of_256_symbols_and_many_states_runs():
    alphabet = tuple(f"s{i}" for i in range(256))
    states = tuple(f"q{i}" for i in range(300))
    delta = {(states[i], a): (states[i + 1], alphabet[-1], 1) for i in range(299) for a in alphabet}
    m = TuringMachine("wide", states, alphabet, "s0", "q0", delta)
    trace = m.run(["s255"] * 3, 1000)
    assert (trace.steps, trace.state, trace.tape[:299]) == (299, "q299", ["s255"] * 299)
    assert trace.codes.dtype == np.uint32


def test_unknown_symbols_on_the_tape_are_all_named_once():
    with pytest.raises(ValueError, match="tape symbols 'x', 'y' are not in its alphabet '_', '1'"):
        machine({}).run("1xyx_", 5)


def test_a_negative_limit_and_an_empty_block_are_refused():
    with pytest.raises(ValueError, match="max_steps must not be negative, got -1"):
        machine({}).run("", -1)
    with pytest.raises(ValueError, match="block must be at least 1 step, got 0"):
        next(machine({}).run_blocks("", 1, block=0))


def test_a_bbchallenge_line_is_read():
    m = TuringMachine.from_bbchallenge(BB5)
    assert m.states == ("A", "B", "C", "D", "E", "Z")
    assert m.delta["E", "0"] == ("Z", "1", 1)
    assert m.delta["C", "1"] == ("E", "0", -1)
    three = TuringMachine.from_bbchallenge("1RB2LA1RH_1LB1LA---", name="three")
    assert (three.name, three.alphabet, three.states) == ("three", ("0", "1", "2"), ("A", "B", "H"))
    assert ("B", "2") not in three.delta


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "got 0 in A"),
        ("1RB", "unknown state|expected a symbol"),
        ("1RB1L_1LA1RZ", "3 characters a row, got 5 in A"),
        ("1RB1LA_1LA", "row B has 3 characters, row A has 6"),
        ("1RB1LC_1LA1RZ", "transition A1 is '1LC'"),
        ("1RB2LA_1LA1RZ", "transition A1 is '2LA'"),
        ("1RB1SA_1LA1RZ", "transition A1 is '1SA'"),
        ("1RB1LA_1LA1RQ", "transition B1 is '1RQ'"),
        ("1rb1la_1la1rz", "transition A0 is '1rb'.*transition B1 is '1rz'"),
        ("_".join(["1RA1LA"] * 27), "expected 1 to 26 rows, got 27"),
        ("1RA" * 11, "expected 1 to 10 transitions"),
        ("1RB1LA\n_1LA1RZ", "row B|got 7"),
    ],
)
def test_malformed_bbchallenge_lines_are_refused(line, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        TuringMachine.from_bbchallenge(line)
    assert "\n" not in str(caught.value)


def test_the_bb5_champion_runs_to_its_halt_in_seconds():
    m = TuringMachine.from_bbchallenge(BB5)
    begin = time.perf_counter()
    trace = m.run("", 10**8, record=False)
    seconds = time.perf_counter() - begin
    assert (trace.steps, trace.halted, trace.state) == (47_176_870, True, "Z")
    assert (trace.tape.count("1"), len(trace.tape)) == (4098, 12_289)
    assert trace.steps / seconds > 3e6


def test_ten_symbols_are_the_most_of_a_line():
    assert len(TuringMachine.from_bbchallenge("1RA" * 10).alphabet) == 10
    with pytest.raises(ValueError, match="1 to 10 transitions"):
        TuringMachine.from_bbchallenge("1RA" * 11)
