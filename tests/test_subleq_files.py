"""SUBLEQ programs of one's own: words or assembly, input and output at the address -1."""

from __future__ import annotations

import json

import pytest

from icl_sim.cli import run
from icl_sim.emulation.looped import emulate_looped
from icl_sim.errors import InputError

# https://esolangs.org/wiki/Subleq: it moves its own operands along the text.
HELLO = """
15 17 -1  17 -1 -1  16 1 -1  16 3 -1  15 15 0  0 -1
72 101 108 108 111 44 32 119 111 114 108 100 33 10 0
"""
ADD = """
        -1 x            ; the device reads
        -1 y
        x zero
        zero y
        zero zero
        y -1            ; and writes
        zero zero -1
zero:   .words 0
x:      .words 0
y:      .words 0
"""


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "program.txt"
        path.write_text(text)
        return str(path)

    return write


@pytest.mark.parametrize("engine", ["dense", "verify"])
def test_hello_world_runs_through_the_weights(write, engine):
    found = emulate_looped(write(HELLO), engine=engine)
    assert bytes(found.output) == b"Hello, world!\n"
    assert (found.halted, found.agrees, found.device_steps) == (True, True, 14)
    assert found.steps == 14 * 5 + 1  # a round a letter, and the one that halts


@pytest.mark.parametrize(("tape", "output"), [("3 -5", [-2]), ("100,23", [123]), ("7", [6])])
def test_words_are_read_and_written(write, tape, output):
    found = emulate_looped(write(ADD), tape)  # of one word, the other reads as -1
    assert (found.output, found.agrees, found.device_steps) == (output, True, 3)


def test_text_is_read_as_its_codes(write):
    echo = "loop: -1 x\n x -1\n zero zero loop\n zero: .words 0\n x: .words 0"
    found = emulate_looped(write(echo), "Hi", max_steps=6)
    assert (found.output, found.halted, found.inputs) == ([72, 105], False, [72, 105])


def test_the_command_shows_the_output(write, capsys):
    arguments = ["icl-sim", "emulate", write(ADD), "--construction", "looped", "--tape", "2 2"]
    assert run([*arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["output"] == [4]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("", "got nothing"),
        ("# only a comment", "got nothing"),
        ("1 2 x", "'x' is neither"),
        ("1 2 3 40000", "word 3: expected -32,768 to 32,767"),
        ("a: a a\nb: 1 2 3 4", "line 2: expected a b c"),
        ("1 " * 2000, "at most 1,024 words"),
    ],
)
def test_what_is_no_program_is_refused_in_one_line(write, text, word):
    with pytest.raises(InputError, match=word) as caught:
        emulate_looped(write(text))
    assert "\n" not in str(caught.value)
