"""Machine formats: published machines, and random ones written down and read back."""

from __future__ import annotations

import numpy as np
import pytest
from cases_formats import LETTERS, NAMED, PUBLISHED, old_link, random_named, record
from cases_machine_files import ADDITION

from constructions.programs.turing import TuringMachine
from icl_sim.emulation.machine_files import parse_machine, read_machine

COUNTS = (100, pytest.param(1000, marks=pytest.mark.slow))  # random machines of a format


def random_line(rng, states, symbols):
    """A line whose first transition is defined: some others are not, and some halt."""
    letters = [chr(65 + i) for i in range(states)] + ["Z"]
    cells = [
        f"{rng.integers(symbols)}{'LR'[rng.integers(2)]}{letters[rng.integers(states + 1)]}"
        if i == 0 or rng.random() > 0.1
        else "---"
        for i in range(states * symbols)
    ]
    return "_".join("".join(cells[i : i + symbols]) for i in range(0, len(cells), symbols))


def result(machine):
    trace = machine.run("", 200_000, record=False)
    assert trace.halted
    return trace.steps, sum(symbol != machine.blank for symbol in trace.tape)


@pytest.mark.parametrize("form", [*LETTERS, *NAMED])
def test_published_machines_do_what_was_published(form):
    assert len(PUBLISHED) >= 20
    for line, expected in PUBLISHED.items():
        machine = TuringMachine.from_bbchallenge(line, name="m")
        text = (LETTERS | NAMED)[form](machine)
        assert result(parse_machine(text, name="m")) == expected, text


def test_published_machines_by_records_and_old_links():
    # They have no halting state: a transition into it is undefined, and not counted.
    for line, (steps, _) in PUBLISHED.items():
        machine = TuringMachine.from_bbchallenge(line.replace("1RZ", "---"))
        if len(machine.alphabet) == 2:
            assert result(parse_machine(old_link(machine), name="m"))[0] == steps - 1
        if line.count("_") == 4:
            data = record(machine).decode()
            assert result(parse_machine(data, name="m"))[0] == steps - 1
            assert result(parse_machine(data.encode().hex(" "), name="m"))[0] == steps - 1


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("form", LETTERS)
def test_random_machines_of_letters_are_read_back(form, count):
    rng = np.random.default_rng(1)
    for _ in range(count):
        line = random_line(rng, int(rng.integers(2, 7)), int(rng.integers(2, 5)))
        machine = TuringMachine.from_bbchallenge(line, name="m")
        if len(machine.working) == line.count("_") + 1:  # else a row has no rule to write
            assert parse_machine(LETTERS[form](machine), name="m") == machine, line


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("form", NAMED)
def test_random_machines_of_any_names_are_read_back(form, count):
    rng = np.random.default_rng(2)
    for _ in range(count):
        machine = random_named(rng)
        text = NAMED[form](machine)
        found = parse_machine(text, name="m")
        blank = {machine.blank: found.blank}
        name = {machine.start: found.start}
        if form == "morphett":
            name |= {q: f"halt-{q}" for q in machine.states if q not in machine.working}
        assert {
            (name.get(q, q), blank.get(a, a)): (name.get(p, p), blank.get(w, w), d)
            for (q, a), (p, w, d) in machine.delta.items()
        } == dict(found.delta), text


@pytest.mark.parametrize("count", COUNTS)
def test_random_records_are_read_back(count):
    rng = np.random.default_rng(3)
    for _ in range(count):
        line = random_line(rng, 5, 2)
        while "Z" in line:
            line = line.replace(line[line.index("Z") - 2 : line.index("Z") + 1], "---")
        machine = TuringMachine.from_bbchallenge(line, name="m")
        if len(machine.working) == 5:
            assert parse_machine(record(machine).decode(), name="m") == machine
            assert parse_machine(record(machine).hex(), name="m") == machine
            assert parse_machine(old_link(machine), name="m") == machine


def test_wildcards_of_morphett_are_written_out():
    text = """
    0 _ _ l back   ; the exact line wins
    0 * * r 0      ; a symbol's wildcard
    back * * * halt-accept
    0 x y r halt!
    """.replace("halt!", "halt !")
    machine = parse_machine(text, name="m")
    assert machine.delta["0", "x"] == ("halt", "y", 1)
    assert machine.delta["0", "y"] == ("0", "y", 1)
    assert machine.delta["back", "x"] == ("halt-accept", "x", 0)
    everywhere = parse_machine("0 a b r 1\n1 b a r 0\n* c * * halt\n* * _ l *", name="m")
    assert everywhere.delta["1", "c"] == ("halt", "c", 0)
    assert everywhere.delta["1", "a"] == ("1", "_", -1)


def test_wildcards_of_jflap_are_written_out():
    text = """<structure><type>turing</type><automaton>
    <block id="0" name="q0"><tag>Machine0</tag><initial/></block>
    <block id="1" name="q1"><tag>Machine1</tag><final/></block>
    <transition><from>0</from><to>0</to><read>!a</read><write>~</write><move>R</move></transition>
    <transition><from>0</from><to>1</to><read>a</read><write>b</write><move>S</move></transition>
    <Machine0/><Machine1/></automaton></structure>"""
    machine = parse_machine(text, name="m")
    assert machine.delta["q0", "b"] == ("q0", "b", 1)
    assert machine.delta["q0", "a"] == ("q1", "b", 0)
    assert machine.delta["q0", "\u25a1"] == ("q0", "\u25a1", 1)


def test_a_line_of_a_list_is_chosen_by_its_number(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("# two\n1RB1LB_1LA1RZ\n1RB1RZ_1LB0RC_1LC1LA  21\n")
    assert result(read_machine(f"{path}:2")) == (6, 4)
    assert result(read_machine(f"{path}:3")) == (21, 5)


def test_the_input_of_a_file_is_its_machine_s():
    text = "input: 'aab'\nblank: '.'\nstart state: s\ntable: {s: {a: R, b: {R: ok}}, ok: }\n"
    machine = parse_machine(text, name="m")
    assert machine.input == ("a", "a", "b")
    assert machine.run(machine.input, 9).steps == 3
    added = parse_machine(f"input: '1011+11001'\n{ADDITION}", name="m")  # the site's own example
    trace = added.run(added.input, 999)
    assert (trace.steps, "".join(trace.tape).strip()) == (92, "100100")
    document = '{"start": "s", "blank": ".", "input": "ab", "table": {"s": {"a": "aRs"}}}'
    assert parse_machine(document, name="m").input == ("a", "b")


def test_keys_with_commas_and_unknown_keys_of_turingmachine_io_are_read():
    text = "author: me\nblank: ' '\nstart state: a\ntable:\n  a:\n    '0,1':\tR\n    ' ': L\n"
    machine = parse_machine(text, name="m")
    assert machine.delta["a", "0"] == ("a", "0", 1)
    assert machine.delta["a", "1"] == ("a", "1", 1)
