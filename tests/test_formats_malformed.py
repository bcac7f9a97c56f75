"""Malformed machines in each format: refused in one line that names the place."""

from __future__ import annotations

import json
import time

import pytest
from cases_formats import LETTERS, NAMED
from cases_machine_files import assert_one_line
from hypothesis import given, settings
from hypothesis import strategies as st

from constructions.programs.turing import TuringMachine
from icl_sim.emulation.machine_files import parse_machine
from icl_sim.errors import InputError

BB3 = "1RB1RZ_1LB0RC_1LC1LA"
GOOD = TuringMachine.from_bbchallenge(BB3, name="m")
TMS = "name: m\ninit: a\naccept: z\n\na,0\nb,1,>\n"


def xml(body, kind="turing"):
    return f"<structure>\n<type>{kind}</type>\n<automaton>\n{body}</automaton></structure>"


STATES = '<state id="0" name="a"><initial/></state>\n<state id="1" name="z"><final/></state>\n'


def arrow(read="0", write="1", move="R", start="0", to="1"):
    return (
        f"<transition><from>{start}</from><to>{to}</to><read>{read}</read><write>{write}</write>"
        f"<move>{move}</move></transition>\n"
    )


LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]>\n' + xml(STATES + arrow("&c;"))
)
OUTSIDE = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>\n' + xml(arrow("&e;"))
TABLE = {"blank": "0", "start": "A", "table": {"A": {"0": ["1", "R", "B"], "1": "1LB"}}}


def table(**change):
    return json.dumps(TABLE | change)


MALFORMED = {
    # name: (text, every reason that must be named)
    "two lines": (f"{BB3}\n# or\n{BB3}\n", ["2 machines, on lines 1, 3", "FILE:LINE"]),
    "line and link": (f"{BB3}\nhttps://bbchallenge.org/{BB3}\n", ["on lines 1, 2"]),
    "table, a bad cell": ("1RB 1RC\n1LB 0R7\n1LC 1LA", ["line 2, column 5", "'0R7'"]),
    "table, a missing cell": ("1RB 1LC\n1RC\n1RD 0LE", ["line 1: 5 transitions", "no number"]),
    "cells that fit two sizes": ("1RB 1LA 1RA 1LB 0RA 0LA 1RB 1LB", ["2 or 4 states"]),
    "a number of the database": ("https://bbchallenge.org/10345&s=9", ["line 1", "machine 10345"]),
    "a link to nothing": ("https://bbchallenge.org/?x", ["line 1", "names no machine"]),
    "an old link that is damaged": ("https://bbchallenge.org/mAQACAQ!x", ["line 1", "base64"]),
    "an old link with an accent": ("https://bbchallenge.org/m\u00e9QAC", ["line 1", "base64"]),
    "an old link cut": ("https://bbchallenge.org/mAQACAQEDAQ==", ["line 1", "7 bytes"]),
    "two records": ("\x01\x00\x02" * 20, ["2 records of 30 bytes"]),
    "a record of a symbol 2": ("\x02\x00\x01" * 10, ["byte 0: expected a symbol below 2"]),
    "morphett, a field too few": ("0 a b r 1\n0 b r 1", ["line 2", "4 fields"]),
    "morphett, a long symbol": ("0 a b r 1\n0 bb a r 1", ["line 2: expected 'state symbol"]),
    "morphett, a move": ("0 a b r 1\n0 b a u 1", ["line 2"]),
    "morphett, twice": (
        "0 a b r 1\n1 a b r 0\n0 a a l 1",
        ["line 3: a second", "which line 1"],
    ),
    "morphett, a rule of a halt": ("0 a b r halt\nhalt a b r 0", ["line 2", "final state"]),
    "simulator, no init": ("init:\na,0\nb,1,>\n", ["state ''"]),
    "simulator, half a rule": (TMS + "b,1\n", ["line 7: no line follows"]),
    "simulator, a move": (TMS + "b,1\na,0,R\n", ["line 8", "'R'"]),
    "simulator, a field": (TMS + "b,1\na,0,0,>\n", ["line 8", "4 fields"]),
    "simulator, tapes": (TMS + "b,1,1\na,0,0,>,>\n", ["line 7: 2 tapes, line 5"]),
    "simulator, twice": (TMS + "a,0\nb,0,<\n", ["line 7: a second rule for ('a', '0')", "line 5"]),
    "simulator, twice the same": (TMS + "a,0\nb,1,>\n", ["line 7", "again"]),
    "simulator, a long symbol": (TMS + "b,10\na,0,>\n", ["line 7: a symbol", "'10'"]),
    "simulator, a header twice": ("init: a\ninit: b\na,0\nb,1,>\n", ["line 2: a second 'init'"]),
    "simulator, a rule of the accepting": (TMS + "z,1\na,0,>\n", ["line 7", "final state"]),
    "JFLAP, not closed": ("<structure>\n<type>turing", ["line 2, column 13: no element"]),
    "JFLAP, laughs": (LAUGHS, ["line 1", "entities are refused"]),
    "JFLAP, an outer entity": (OUTSIDE, ["line 1", "entities are refused"]),
    "JFLAP, an unknown entity": (xml(arrow("&x;")), ["line 4, column", "undefined entity"]),
    "JFLAP, deep": ("<a>" * 5000, ["line 1: nested deeper than 12"]),
    "JFLAP, another kind": (xml(STATES, "fa"), ["type turing, got 'fa'"]),
    "JFLAP, HTML": ("<html><body>x</body></html>", ["got '<html>'"]),
    "JFLAP, no start": (xml('<state id="0" name="a"/>' + arrow()), ["one initial state, got 0"]),
    "JFLAP, an unknown state": (xml(STATES + arrow(to="7")), ["line 6", "'7'"]),
    "JFLAP, an id twice": (xml(STATES + STATES), ["line 6", "id of its own"]),
    "JFLAP, a move": (xml(STATES + arrow(move="X")), ["line 6: expected the move L, R or S"]),
    "JFLAP, a variable": (xml(STATES + arrow(read="a,b}w")), ["line 6: expected no variable"]),
    "JFLAP, a choice": (xml(STATES + arrow() + arrow(to="0")), ["line 7: a second rule", "line 6"]),
    "JFLAP, a rule of a final state": (xml(STATES + arrow(start="1")), ["line 6", "final"]),
    "JFLAP, tapes": (xml("").replace("</type>", "</type><tapes>99</tapes>"), ["1 to 4 tapes"]),
    "JSON, a comma": ('{"blank": "0",\n "start": }', ["line 2, column 11: not JSON"]),
    "JSON, no table": (table(table=None), ["expected one of the keys table"]),
    "JSON, a move": (table(table={"A": {"0": ["1", "U", "A"]}}), ["('A', '0')", "'U'"]),
    "JSON, a number": (table(table={"A": {"0": 7}}), ["('A', '0')", "expected [write"]),
    "JSON, a key twice": ('{"start": "A", "table": {}, "table": {}}', ["'table' is there twice"]),
    "JSON, a rule without read": (table(table=[{"state": "A"}]), ["rule 1: expected an object"]),
    "JSON, an empty table": (table(table={}), ["has no rules"]),
    "JSON, an unknown start": (table(start="Q"), ["start state 'Q' has no rule"]),
    "JSON, deep": ('{"start": ' + "[" * 100_000, ["nested"]),
    "JSON, a final state with rules": (table(finals=["A"]), ["final state"]),
    "YAML, a tab first": ("blank: 0\nstart state: a\ntable:\n\ta: {0: R}\n", ["line 4: not YAML"]),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_machines_are_refused_in_one_line_with_the_place(name):
    text, reasons = MALFORMED[name]
    begin = time.process_time()
    with pytest.raises(InputError) as caught:
        parse_machine(text, name="m")
    assert time.process_time() - begin < 2
    for reason in reasons:
        assert reason in str(caught.value)
    assert_one_line(caught.value)


YAML = "blank: 0\nstart state: a\ntable:\n"
LONG = {
    # Each is long for some pattern that a reader might use: none may cost more than its length.
    "dashes": "-" * 200_000 + "x",
    "bars": "|" + "-|" * 100_000 + "x",
    "escaped quotes": '"' + '\\"' * 100_000,
    "quotes": "'\t" * 80_000,
    "cells": "1RB" * 80_000,
    "cells and blanks": "1RB " * 60_000,
    "lines": "1RB 1LC\n" * 30_000,
    "blanks": "0 a" + " " * 200_000 + "b r",
    "colons": "init:" + ":" * 200_000,
    "states": "<structure><type>turing</type>" + '<state id="1"/>' * 17_000 + "</structure>",
    "names": "<a " + " ".join(f'b{i}="1"' for i in range(20_000)) + "/>",
    "lists": '{"start": [' + "1," * 100_000 + "1]}",
    "records": "\x01\x00\x02" * 80_000,
    "keys twice": YAML + "  a: {0: R}\n" * 8000,
    "symbols twice": YAML + "  a:\n    [" + "0," * 30_000 + "0]: R\n",
}


@pytest.mark.parametrize("name", LONG)
def test_long_texts_are_refused_at_once(name):
    begin = time.process_time()
    with pytest.raises(InputError) as caught:
        parse_machine(LONG[name], name="m")
    assert time.process_time() - begin < 4
    assert_one_line(caught.value)
    assert len(str(caught.value)) < 2000


PIECES = st.sampled_from(
    [
        *"\n\t ,;:|/_*!<>-~{}[]\"'#%&.?0129ABZabzLRlr",
        *["\n\n", "  ", "---", "???", "1RB", "B1R", "https://bbchallenge.org/m", "//", "null"],
        *["&amp;", "&#10;", "<read/>", "</state>", "</", "<![CDATA[", "halt", "init: ", "1e9"],
        *["<!DOCTYPE x>", "\x00", "\x01", "\x85", "\u2028", "\ud800", "\ufeff", "\U0010ffff"],
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_damage_to_any_format_raises_anything_but_one_line(data):
    write = data.draw(st.sampled_from([*LETTERS.values(), *NAMED.values()]))
    text = write(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = min(len(text), start + data.draw(st.integers(0, 12)))
        text = text[:start] + data.draw(st.lists(PIECES, max_size=3).map("".join)) + text[end:]
    begin = time.process_time()
    try:
        machine = parse_machine(text, name="m")
    except InputError as error:
        assert_one_line(error)
    else:
        machine.run(machine.alphabet, 100)
    assert time.process_time() - begin < 5
