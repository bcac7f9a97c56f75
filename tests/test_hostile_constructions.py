"""The public names of `constructions` with values that nobody means: an answer, or one line."""

from __future__ import annotations

import dataclasses
import inspect
import resource
import sys
from pathlib import Path

import numpy as np
import pytest
from hostile import HOSTILE, fault_of, faults, of, places

import constructions
from constructions import CONSTRUCTIONS, PROGRAMS, SUBLEQ, Layer, TransformerSpec, TuringMachine
from constructions.programs.counting_machine import counting
from constructions.rasp import tokens
from constructions.rotary import Rotary

LOOKUP = CONSTRUCTIONS["lookup"](vocab=3, contexts=2)
MACHINE = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ")
UNIVERSAL = CONSTRUCTIONS["universal"](states=2, steps=10, cells=10)
LAYER = Layer(heads=1, key_size=2, value_size=2, hidden=3)
SPEC = TransformerSpec(3, 4, 3, (LAYER,))
PROBLEM = {"pairs": [(0, 2), (1, 0)], "query": 0}


def made(record):
    """The call that makes a record with the fields of this one."""
    fields = [field.name for field in dataclasses.fields(record) if field.init]
    return of(type(record), **{name: getattr(record, name) for name in fields})


PARTS = {
    "residual": constructions.Residual(token=2),
    "embed": {"token": np.eye(2)},
    "layers": (),
    "out": {"token": np.eye(2)},
}
CALLS = {
    "Blueprint": of(constructions.Blueprint, **PARTS),
    "Certificate": made(LOOKUP.certificate),
    "Certificate.check": of(LOOKUP.certificate.check, length=1),
    "Construction": made(LOOKUP),
    "Construction.encode": of(LOOKUP.encode, PROBLEM),
    "Construction.oracle": of(LOOKUP.oracle, PROBLEM),
    "Construction.bound": of(LOOKUP.bound, PROBLEM),
    "Layer": made(LAYER),
    "Program": made(PROGRAMS["parity"]),
    "Residual": of(constructions.Residual, a=1),
    "Rotary": made(Rotary(scaling="yarn", length=9)),
    "TrainingProgram": made(counting(contexts=2, outputs=2)),
    "SubleqProgram": made(SUBLEQ["add"]),
    "Trace": made(MACHINE.run("", 3)),
    "TransformerSpec": made(SPEC),
    "TuringMachine": made(MACHINE),
    "TuringMachine.from_bbchallenge": of(TuringMachine.from_bbchallenge, "1RB1LB_1LA1RZ", "m"),
    "TuringMachine.run": of(MACHINE.run, "", 10, record=True),
    "assemble": of(
        constructions.assemble,
        "same",
        constructions.Blueprint(**PARTS),
        fields=PARTS["residual"],
        certify=lambda spec, params: LOOKUP.certificate,
        parse=dict,
        fill=dict,
        decode=dict,
        oracle=dict,
        source="none",
        proof="none",
        check=len,
        kind="program",
        enclose=None,
    ),
    "blank": of(constructions.blank, SPEC),
    "compile_program": of(
        constructions.compile_program, tokens, length=2, alphabet=2, causal=False, name="same"
    ),
    "forward": of(
        constructions.forward,
        LOOKUP.spec,
        LOOKUP.params,
        LOOKUP.encode(PROBLEM),
        prefix=None,
        offset=0,
        exact=False,
    ),
    "one_after_another": of(
        constructions.one_after_another, LOOKUP, LOOKUP, wires={}, oracle=len, lipschitz=1.0
    ),
    "param_shapes": of(constructions.param_shapes, SPEC),
    "register_construction": of(constructions.register_construction, "lookup", len),
    "side_by_side": of(constructions.side_by_side, LOOKUP, LOOKUP),
    "unroll": of(constructions.unroll, LOOKUP),
    "universal.encode": of(UNIVERSAL.encode, {"machine": MACHINE, "tape": ""}),
}
# Mappings, which have a KeyError for a name that is none; what is under the names is called above.
LEFT_OUT = {"CONSTRUCTIONS", "PROGRAMS", "SUBLEQ"}


def test_every_public_name_is_called_or_left_out_for_a_reason():
    assert set(constructions.__all__) - CALLS.keys() == LEFT_OUT


@pytest.mark.parametrize(("name", "place"), [*places(CALLS)])
def test_a_hostile_argument_is_answered_or_refused_in_one_line(name, place, monkeypatch):
    monkeypatch.setattr(constructions.CONSTRUCTIONS, "_functions", {"lookup": len})
    # Large numbers of steps may well be asked for, and would be taken.
    large = [what for what in HOSTILE if what.startswith("2^")]
    left = large if (name, place) == ("TuringMachine.run", 1) else ()
    # Functions that certify nothing, but may be called: what they raise is their own.
    left = ("type", "function") if (name, place) == ("assemble", "certify") else left
    assert not faults(CALLS, name, place, left=left)


def sizes():
    for name, build in CONSTRUCTIONS.items():
        parameters = inspect.signature(build).parameters.values()
        yield from ((name, one.name) for one in parameters if "int" in str(one.annotation))


@pytest.mark.skipif(sys.platform != "linux", reason="the address space is limited on Linux")
def test_sizes_that_no_memory_holds_are_refused_in_one_line():
    """10^9 in each option of each construction, with 2 GiB to allocate."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**31, hard))
    try:
        wrong = {
            case: fault
            for case in sizes()
            if (fault := fault_of("", lambda: CONSTRUCTIONS[case[0]](**{case[1]: 10**9})))  # noqa: B023
        }
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert not wrong
