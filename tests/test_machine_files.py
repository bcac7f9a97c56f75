"""Machine files: what is read, and what is refused in one line with every reason."""

from __future__ import annotations

import os
import time

import pytest
from cases_machine_files import ADDITION, INCREMENT, assert_one_line
from cases_machines import BB5

from constructions.programs.named import PROGRAMS
from constructions.programs.turing import TuringMachine
from icl_sim.emulation import machine_files
from icl_sim.emulation.formats.rules import MAX_STATES, MAX_SYMBOLS
from icl_sim.emulation.formats.turingmachine_io import MAX_DEPTH
from icl_sim.emulation.machine_files import MAX_BYTES, read_machine
from icl_sim.errors import InputError


def header(table, blank="' '", start="a"):
    return f"blank: {blank}\nstart state: {start}\ntable:\n{table}"


@pytest.fixture
def write(tmp_path):
    def write(text, name="machine.yaml"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def test_a_bbchallenge_line_file_is_read(write):
    machine = read_machine(write(BB5 + "\n", "champion.txt"))
    assert machine == TuringMachine.from_bbchallenge(BB5, name="champion")


def test_a_path_may_be_text(write):
    assert read_machine(str(write(BB5))).states[0] == "A"


def test_yaml_with_lists_as_keys_bare_moves_and_empty_targets_is_read(write):
    machine = read_machine(write(INCREMENT))
    assert machine.name == "machine"
    assert machine.states == ("right", "carry", "done")
    assert machine.blank == " "
    assert machine.delta["right", "0"] == ("right", "0", 1)
    assert machine.delta["carry", "1"] == ("carry", "0", -1)
    assert machine.delta["carry", " "] == ("done", "1", -1)
    assert "".join(machine.run("1011", 99).tape).strip() == "1100"


def test_synonyms_stand_for_instructions(write):
    machine = read_machine(write(ADDITION))
    program = PROGRAMS["binary-addition"]
    for tape in program.inputs:
        trace = machine.run(tape, 10_000)
        assert "".join(trace.tape).strip() == program.oracle(tape)
        assert trace.state == "done"


def test_an_exported_file_wraps_the_machine_as_text(write):
    body = "".join(f"  {line}\n" for line in INCREMENT.splitlines())
    exported = (
        f"name: binary increment\nsource code: |\n{body}positions:\n  right: {{x: 1, y: 2.5}}\n"
    )
    machine = read_machine(write(exported))
    assert machine.name == "binary increment"
    assert machine.delta == read_machine(write(INCREMENT)).delta


def test_scalars_are_text_as_written(write):
    table = "  no: {0: {write: 7, R: y}, 1: {N: 012}}\n  y: {0: {L: 1e3}}\n  012:\n  1e3:\n"
    machine = read_machine(write(header(table, blank="0", start="no")))
    assert machine.states == ("no", "y", "012", "1e3")
    assert machine.delta["no", "0"] == ("y", "7", 1)
    assert machine.delta["no", "1"] == ("012", "1", 0)


def test_states_halt_by_an_empty_table_a_null_or_no_rule(write):
    table = "  a: {0: {R: b}, 1: {R: c}, 2: {R: d}}\n  b:\n  c: {}\n  d: null\n"
    machine = read_machine(write(header(table)))
    for tape, state in (("0", "b"), ("1", "c"), ("2", "d")):
        trace = machine.run(tape, 9)
        assert (trace.halted, trace.state, trace.steps) == (True, state, 1)
    assert machine.run(" ", 9).steps == 0


def test_symbols_of_the_input_belong_to_the_alphabet(write):
    machine = read_machine(write("input: xyx\n" + header("  a: {' ': R}\n")))
    assert machine.alphabet == (" ", "x", "y")
    assert machine.run("x", 9).halted


def test_a_byte_order_mark_and_windows_line_ends_are_no_fault(write):
    text = b"\xef\xbb\xbf" + INCREMENT.replace("\n", "\r\n").encode()
    assert read_machine(write(text)).delta == read_machine(write(INCREMENT)).delta


FLOW = "blank: 0\nstart state: a\n"
DEEP = "".join("  " * i + f"k{i}:\n" for i in range(40))
MALFORMED = {
    # name: (text, every reason that must be named)
    "empty": ("", ["is empty"]),
    "only blanks": (" \n\t\n", ["is empty"]),
    "only a comment": ("# nothing\n# here\n", ["expected one bbchallenge line"]),
    "a word": ("hello", ["transition A", "got 5 in A"]),
    "prose": ("one machine, please", ["expected one bbchallenge line"]),
    "a list": ("- a: 1\n- b: 2\n", ["expected one bbchallenge line"]),
    "two lines of bbchallenge": (f"{BB5}\n{BB5}\n", ["expected one bbchallenge line"]),
    "bbchallenge, row too short": ("1RB1LC_1RC_1RZ0LA", ["row B has 3 characters"]),
    "bbchallenge, half a transition": ("1RB1L_1LA1RZ", ["got 5 in A"]),
    "bbchallenge, unknown state": ("1RB1LC_1LA1RZ", ["transition A1 is '1LC'"]),
    "bbchallenge, unknown symbol": ("1RB2LA_1LA1RZ", ["transition A1 is '2LA'"]),
    "bbchallenge, bad move": ("1RB1SA_1UA1RZ", ["A1 is '1SA'", "B0 is '1UA'"]),
    "bbchallenge, lower case": ("1rb1la_1qa1rz", ["B0 is '1QA'"]),
    "bbchallenge, half undefined": ("1RB--A_1LA1RZ", ["A1 is '--A'"]),
    "bbchallenge, too many rows": ("_".join(["1RA1LA"] * 30), ["1 to 26 rows, got 30"]),
    "bbchallenge, too many symbols": ("1RA" * 20, ["1 to 10 transitions", "got 60"]),
    "bbchallenge, empty row": ("1RB1LA__1LA1RZ", ["row B has 0 characters"]),
    "no blank": ("start state: a\ntable: {a: }\n", ["'blank' is missing"]),
    "no start": ("blank: 0\ntable: {a: }\n", ["'start state' is missing"]),
    "no table": (FLOW, ["'table' is missing"]),
    "nothing needed": (
        "name: m\n",
        ["'blank' is missing", "'start state' is missing", "'table' is missing"],
    ),
    "unknown key": (FLOW + "tabel: {}\ntable: {a: }\n", ["unknown key 'tabel'"]),
    "key twice": (FLOW + "blank: 1\ntable: {a: }\n", ["key 'blank' twice"]),
    "key is a list": (FLOW + "[x, y]: 1\ntable: {a: }\n", ["a key that is not text"]),
    "name is a list": (FLOW + "name: [a]\ntable: {a: }\n", ["the machine must be named"]),
    "name is long": (FLOW + f"name: {'a' * 65}\ntable: {{a: }}\n", ["1 to 64 printable"]),
    "blank of two characters": (header("  a:\n", blank="'  '"), ["'blank' must be one", "'  '"]),
    "blank is empty": (header("  a:\n", blank=""), ["'blank' must be one printable"]),
    "blank is a list": (header("  a:\n", blank="[0]"), ["'blank' must be one", "a list"]),
    "blank is not printable": (header("  a:\n", blank='"\\t"'), ["must be one printable"]),
    "start is unknown": (header("  a:\n", start="b"), ["start state 'b' is not in the table"]),
    "start is empty": (header("  a:\n", start=""), ["start state '' is not in the table"]),
    "start is a mapping": (header("  a:\n", start="{a: b}"), ["start state a list or mapping"]),
    "table is empty": (FLOW + "table:\n", ["start state 'a' is not in the table"]),
    "table is text": (FLOW + "table: hello\n", ["'table' is not a mapping"]),
    "table is a list": (FLOW + "table: [a, b]\n", ["'table' is not a mapping"]),
    "input is a mapping": (header("  a:\n") + "input: {a: b}\n", ["'input' is not text"]),
    "state twice": (header("  a:\n  a:\n"), ["'table' has the key 'a' twice"]),
    "state is a list": (header("  a:\n  [b, c]:\n"), ["'table' has a key that is not text"]),
    "state without name": (header("  a:\n  '':\n"), ["state '' must be named"]),
    "state name not printable": (header('  a:\n  "b\\n":\n'), ["state 'b\\n' must be named"]),
    "state name long": (header(f"  a:\n  {'b' * 65}:\n"), ["1 to 64 printable"]),
    "state is text": (header("  a: R\n"), ["state 'a' is not a mapping of symbols"]),
    "state is a list of rules": (header("  a: [R, L]\n"), ["state 'a' is not a mapping"]),
    "symbol twice": (header("  a: {0: R, 0: L}\n"), ["('a', '0') is given twice"]),
    "symbol twice by a list": (header("  a: {[0, 1]: R, 1: L}\n"), ["('a', '1') is given twice"]),
    "symbol twice in a list": (header("  a: {[0, 0]: R}\n"), ["('a', '0') is given twice"]),
    "symbol of two characters": (header("  a: {01: R}\n"), ["read in state 'a' must be", "'01'"]),
    "symbol is empty": (header("  a: {'': R}\n"), ["read in state 'a' must be one"]),
    "symbol is a nested list": (header("  a: {[[0]]: R}\n"), ["must be one", "got a list"]),
    "symbol is a mapping": (header("  a:\n    ? {b: c}\n    : R\n"), ["got a list or mapping"]),
    "symbol not printable": (header('  a: {"\\x07": R}\n'), ["must be one printable"]),
    "instruction missing": (header("  a: {0: }\n"), ["('a', '0') is '', expected L, R, N"]),
    "instruction is a number": (header("  a: {0: 1}\n"), ["('a', '0') is '1', expected L, R, N"]),
    "instruction is a list": (header("  a: {0: [R, a]}\n"), ["('a', '0') is a list"]),
    "move unknown": (header("  a: {0: {X: a}}\n"), ["unknown key 'X'", "0 moves"]),
    "move in lower case": (header("  a: {0: r}\n"), ["('a', '0') is 'r'"]),
    "move missing": (header("  a: {0: {write: 1}}\n"), ["has 0 moves, expected one"]),
    "instruction is empty": (header("  a: {0: {}}\n"), ["has 0 moves, expected one"]),
    "two moves": (header("  a: {0: {L: a, R: a}}\n"), ["has 2 moves, expected one"]),
    "move twice": (header("  a: {0: {L: a, L: a}}\n"), ["has the key 'L' twice"]),
    "target unknown": (header("  a: {0: {R: b}}\n"), ["leads to 'b', which is not in the table"]),
    "target is a list": (header("  a: {0: {R: [a]}}\n"), ["not a state's name"]),
    "writes two characters": (header("  a: {0: {write: 10, R}}\n"), ["writes must be", "'10'"]),
    "writes nothing": (header("  a: {0: {write: , R}}\n"), ["writes must be one", "''"]),
    "writes a list": (header("  a: {0: {write: [1], R}}\n"), ["writes must be one", "a list"]),
    "synonyms is text": (header("  a:\n") + "synonyms: x\n", ["'synonyms' is not a mapping"]),
    "synonym of a synonym": (
        header("  a: {0: s}\n") + "synonyms: {s: R, t: s}\n",
        ["synonym 't' is 's', expected"],
    ),
    "synonym named as a move": (header("  a:\n") + "synonyms: {L: R}\n", ["'L' is already a move"]),
    "synonym leads nowhere": (
        header("  a: {0: s}\n") + "synonyms: {s: {R: b}}\n",
        ["('a', '0') leads to 'b'"],
    ),
    "synonym unknown": (header("  a: {0: s}\n"), ["('a', '0') is 's', expected"]),
    "many faults": (
        header("  a: {0: {R: b}, 1: {write: xy, L}, 2: U}\n", blank="''", start="c"),
        ["'blank' must", "state 'c' is not", "leads to 'b'", "got 'xy'", "('a', '2') is 'U'"],
    ),
    "anchor": (header("  a: &x {0: R}\n"), ["line 4: anchors and aliases are refused"]),
    "alias": (header("  a: {0: &x R, 1: *x}\n"), ["anchors and aliases are refused"]),
    "tag": (header("  a: {0: !!str R}\n"), ["line 4: tags are refused", "tag:yaml.org"]),
    "python tag": (FLOW + "table: !!python/object:os.system {}\n", ["tags are refused"]),
    "merge of an alias": (header("  a: {<<: *b}\n"), ["anchors and aliases are refused"]),
    "two documents": (INCREMENT + "---\n" + INCREMENT, ["expected one YAML document"]),
    "unclosed bracket": (header("  a: {0: R\n"), ["not YAML", "line "]),
    "unclosed quote": (header("  a: {'0: R}\n"), ["not YAML"]),
    "tab for indent": (header("\ta: {0: R}\n"), ["not YAML"]),
    "control character": (header("  a: {0: R}\n") + "\x00", ["not YAML"]),
    "impossible escape": (header('  a: {"\\UFFFFFFFF": R}\n'), ["not YAML"]),
    "deep": (DEEP, [f"nested deeper than {MAX_DEPTH}"]),
    "deep by brackets": ("[" * 100_000, [f"nested deeper than {MAX_DEPTH}"]),
    "deep by braces": ("{a: " * 50_000, [f"nested deeper than {MAX_DEPTH}"]),
    "deep by dashes": ("- " * 100_000, [f"nested deeper than {MAX_DEPTH}"]),
    "too many states": (
        header("".join(f"  q{i}:\n" for i in range(MAX_STATES + 1)), start="q0"),
        [f"at most {MAX_STATES} states, got {MAX_STATES + 1}"],
    ),
    "too many symbols": (
        header("  a: {" + "".join(f"{chr(0x4E00 + i)}: R, " for i in range(MAX_SYMBOLS)) + "}\n"),
        [f"at most {MAX_SYMBOLS} symbols, got {MAX_SYMBOLS + 1}"],
    ),
    "huge": ("#" * (MAX_BYTES + 1), [f"larger than {MAX_BYTES} bytes"]),
    "not UTF-8": (b"blank: \xff\n", ["expected UTF-8 text"]),
    "UTF-16": (INCREMENT.encode("utf-16"), ["expected UTF-8 text"]),
    "binary": (bytes(range(256)), ["expected UTF-8 text"]),
    "export without text": ("name: m\nsource code: {a: b}\n", ["'source code' is not text"]),
    "export of nothing": ("source code: ''\n", ["expected one bbchallenge line"]),
    "export of an export": (
        "source code: |\n  source code: x\n",
        ["unknown key 'source code'", "'blank' is missing"],
    ),
    "export with a bad key": ("source code: x\ntable: {}\n", ["unknown key 'table'"]),
    "JSON of something else": ('{"a": [1, 2, {"b": null}]}', ["unknown key 'a'", "is missing"]),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_files_are_refused_in_one_line_with_every_reason(name, write):
    text, reasons = MALFORMED[name]
    path = write(text)
    begin = time.perf_counter()
    with pytest.raises(InputError) as caught:
        read_machine(path)
    assert time.perf_counter() - begin < 5
    for reason in reasons:
        assert reason in str(caught.value)
    assert str(path) in str(caught.value)
    assert_one_line(caught.value)


def test_the_corpus_is_as_large_as_claimed():
    assert len(MALFORMED) >= 60


def test_what_is_not_a_regular_file_is_refused_without_reading(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "none", tmp_path / "pipe", "/dev/zero", "a\0b", "a\nb"):
        with pytest.raises(InputError, match="expected a regular file") as caught:
            read_machine(path)
        assert_one_line(caught.value)


def test_an_unreadable_file_is_refused(write, monkeypatch):
    path = write(INCREMENT)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        read_machine(path)


def test_a_format_in_the_list_is_all_that_a_reader_needs(write, monkeypatch):
    def parse(text, name):
        return PROGRAMS[text.split()[1]].machine

    mine = machine_files.Format("a name after 'run'", lambda text: text.startswith("run "), parse)
    monkeypatch.setattr(machine_files, "FORMATS", (mine, *machine_files.FORMATS))
    assert read_machine(write("run bb3")) is PROGRAMS["bb3"].machine
    assert read_machine(write(BB5)) == TuringMachine.from_bbchallenge(BB5, name="machine")
    with pytest.raises(InputError, match="expected a name after 'run' or a bbchallenge line or"):
        read_machine(write(" "))
