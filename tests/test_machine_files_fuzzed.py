"""No text and no bytes make the reader of machine files raise anything but one line."""

from __future__ import annotations

from cases_machine_files import ADDITION, INCREMENT, assert_one_line
from cases_machines import BB5
from hypothesis import example, given, settings
from hypothesis import strategies as st

from icl_sim.emulation.machine_files import (
    parse_machine,
    read_machine,
)
from icl_sim.errors import InputError


def parse_or_refuse(text):
    """Parses; an InputError on one line is fine, anything else is not."""
    try:
        machine = parse_machine(text, name="m")
    except InputError as error:
        assert_one_line(error)
    else:
        machine.run(machine.alphabet, 100)


PIECES = st.sampled_from(
    [
        *"{}[]:,&*!|>'\"%@`?-#~\\ \n\t01LRNabc",
        *["blank: ", "start state: ", "table:\n", "write: ", "source code: |\n", "synonyms: "],
        *["\n  ", "\n    ", ": {", "null", "<<: ", "!!str ", "&a ", "*a", "---\n", "...\n"],
        *["%TAG ", "\ud800", "\x00", "\x85", "\u2028", "\ufeff", "\U0010ffff", '"\\x', '"\\U'],
        *["_1RB1LA", "---"],
    ]
)


@settings(max_examples=400)
@given(st.one_of(st.text(), st.lists(PIECES, max_size=60).map("".join)))
@example('"\\UFFFFFFFF": a')
@example("%YAML 9.9\n---\na: b")
def test_no_text_raises_anything_but_an_input_error(text):
    parse_or_refuse(text)


@settings(max_examples=300)
@given(st.data())
def test_no_damage_to_a_good_file_raises_anything_but_an_input_error(data):
    text = data.draw(st.sampled_from([INCREMENT, ADDITION, BB5]))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.lists(PIECES, max_size=3).map("".join)) + text[end:]
    parse_or_refuse(text)


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_an_input_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    path.write_bytes(data)
    try:
        read_machine(path)
    except InputError as error:
        assert_one_line(error)
