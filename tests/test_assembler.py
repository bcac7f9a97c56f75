from __future__ import annotations

import numpy as np
import pytest
from cases_machines import random_case

from constructions.programs.assembler import HERE, NEXT, Assembler, Instruction, Tape
from constructions.programs.compaction import compact
from constructions.programs.turing import MOVES, TuringMachine

MARKS = {"0": "a", "1": "b", "<": "c", ">": "d"}


def reference(assembler, contents, limit):
    """Runs the instructions on as many tapes as there are; None if it does not halt."""
    tapes = [list(content) for content in contents]
    heads = [0] * len(tapes)
    place, tape, steps = 0, 0, 0
    while steps < limit:
        steps += 1
        instruction = assembler.code[place]
        if not isinstance(instruction, Instruction):
            tape, place = instruction.to, place + 1
            continue
        assert instruction.tape == tape
        written, move, target = instruction.actions[tapes[tape][heads[tape]]]
        if written:
            tapes[tape][heads[tape]] = written
        heads[tape] += MOVES[move]
        assert 0 <= heads[tape] < len(tapes[tape])
        if target in assembler.halts:
            return [*map("".join, tapes)], heads, tape, target
        if target is NEXT:
            place += 1
        elif target != HERE:
            place = assembler.labels[target]
    return None


def whole_tape(start, trace):
    """What the tape holds at last, cells never visited included."""
    end = trace.tape_start + len(trace.tape)
    return start[: trace.tape_start] + "".join(trace.tape) + start[end:]


def random_program(rng, tapes):
    """Blocks of rules that never leave `<` ... `>`, joined by jumps and changes of tape."""
    names = [f"t{i}" for i in range(tapes)]
    a = Assembler("random", *(Tape(n, "01<>", MARKS) for n in names), halts=["end"])
    blocks = [(f"block {i}", names[rng.integers(tapes)]) for i in range(8)]
    blocks[0] = ("block 0", "t0")
    blocks += [(f"last {name}", name) for name in names]  # every tape has a block
    for label, tape in blocks:
        a.label(label, tape)
        same = [other for other, at in blocks if at == tape] + [HERE, NEXT, "end"]
        for _ in range(rng.integers(1, 4)):
            a.rules(
                {
                    symbol: (
                        None if symbol in "<>" else str(rng.choice(["0", "1"])),
                        {"<": "R", ">": "L"}.get(symbol, str(rng.choice(["L", "R", "S"]))),
                        same[rng.integers(len(same))],
                    )
                    for symbol in "01<>"
                }
                | {"<": (None, "R", NEXT)}
            )
        name = names[rng.integers(tapes)]
        a.on(name)
        a.goto(next(other for other, at in blocks if at == name))
    return a


@pytest.mark.parametrize("tapes", [1, 2, 3])
def test_one_tape_does_what_the_tapes_do(tapes):
    rng = np.random.default_rng(tapes)
    halted = switched = 0
    for _ in range(300):
        a = random_program(rng, tapes)
        contents = [
            "<" + "".join(rng.choice(["0", "1"], size=rng.integers(1, 6))) + ">"
            for _ in range(tapes)
        ]
        expected = reference(a, contents, 400)
        if expected is None:
            continue
        halted += 1
        texts, heads, tape, state = expected
        start = a.layout(*contents)
        trace = a.assemble().run(start, 20_000)
        assert trace.halted
        assert trace.state == state
        cells = whole_tape(start, trace)
        at = 0
        for i, text in enumerate(texts):
            expected_cells = list(text)
            if i != tape:
                expected_cells[heads[i]] = MARKS[text[heads[i]]]
                switched += 1
            else:
                assert trace.head == at + heads[i]
            assert cells[at : at + len(text)] == "".join(expected_cells)
            at += len(text)
    assert halted > 100
    assert tapes == 1 or switched > 100


def test_compaction_keeps_tape_head_and_halting_state():
    rng = np.random.default_rng(5)
    smaller = halted = 0
    for _ in range(300):
        machine, tape = random_case(rng, states=6, symbols=3)
        table = {state: {} for state in machine.states}
        for (state, symbol), rule in machine.delta.items():
            table[state][symbol] = rule
        table = compact(table, machine.start)
        delta = {(q, a): rule for q, row in table.items() for a, rule in row.items()}
        less = TuringMachine("less", tuple(table), machine.alphabet, "0", next(iter(table)), delta)
        smaller += len(table) < len(machine.states)
        before, after = machine.run(tape, 300), less.run(tape, 300)
        assert after.steps <= before.steps
        if not before.halted:
            continue
        halted += 1
        assert after.halted
        assert after.head == before.head
        span = range(-310, 310)
        assert [after.symbol(c) for c in span] == [before.symbol(c) for c in span] or (
            len(after.tape) < len(before.tape)
        )
        if before.state == "halt":
            assert after.state == "halt"
    assert min(smaller, halted) > 50


def test_states_that_behave_alike_become_one():
    rule = {"0": ("x", "1", 1)}
    table = {"s": {"0": ("x", "0", 1), "1": ("y", "1", 1)}, "x": rule, "y": {"0": ("y", "1", 1)}}
    assert list(compact(table, "s")) == ["s", "x"]
    table["y"] = {"0": ("y", "1", -1)}
    assert list(compact(table, "s")) == ["s", "x", "y"]


def test_halting_states_stay_apart():
    table = {"s": {"0": ("yes", "0", 1), "1": ("no", "1", 1)}, "yes": {}, "no": {}}
    assert list(compact(table, "s")) == ["s", "yes", "no"]


def test_a_loop_that_does_not_move_still_does_not_halt():
    a = Assembler("stuck", Tape("t", "01_"))
    a.label("top")
    a.goto("top")
    assert not a.assemble().run("0", 100).halted


def test_a_program_may_begin_by_halting():
    a = Assembler("none", Tape("t", "0_"))
    a.goto("done")
    trace = a.assemble().run("0", 10)
    assert (trace.halted, trace.state, trace.head) == (True, "done", 0)


def add(a, source, target):
    """target += source, numbers with their lowest bit first behind a <, both heads on the <."""
    carries, end = [a.fresh("carry 0"), a.fresh("carry 1")], a.fresh("added")
    for carry, label in enumerate(carries):
        a.label(label, source)
        a.move("R")
        a.branch({">": end})
        for x in a.choose("01"):
            a.on(target)
            a.move("R")
            for y in a.choose("01"):
                total = int(x) + int(y) + carry
                a.write(str(total % 2))
                a.on(source)
                a.goto(carries[total // 2])
    a.label(end)
    a.seek("L", "<")
    a.on(target)
    a.seek("L", "<")
    a.on(source)


def double(a, tape):
    """Shifts a number one place up, its head on the <."""
    shifts, end = [a.fresh("shift 0"), a.fresh("shift 1")], a.fresh("shifted")
    a.move("R")
    for bit, label in zip("01", shifts, strict=True):
        a.label(label, tape)
        a.rules({"0": (bit, "R", shifts[0]), "1": (bit, "R", shifts[1]), ">": (None, "S", end)})
    a.label(end)
    a.seek("L", "<")


def test_macros_multiply_binary_numbers_on_three_tapes():
    marks = {"<": "[", "0": "a", "1": "b"}
    a = Assembler(
        "multiply", *(Tape(name, "01<>", marks) for name in ("bits", "number", "product"))
    )
    a.move("R")
    for bit in a.loop("01", until=">"):
        a.on("number")
        if bit == "1":
            add(a, "number", "product")
        double(a, "number")
        a.on("bits")
        a.move("R")
    a.goto("done")
    machine = a.assemble()
    assert len(machine.working) <= 32
    for x in range(0, 64, 7):
        for y in range(64):
            bits, number = format(x, "06b")[::-1], format(y, "012b")[::-1]
            start = a.layout(f"<{bits}>", f"<{number}>", f"<{'0' * 12}>")
            trace = machine.run(start, 10**5)
            assert trace.state == "done"
            product = whole_tape(start, trace).split("[")[-1][:12]
            assert int(product[::-1], 2) == x * y


def small(*tapes):
    return Assembler("small", *(tapes or (Tape("t", "01_"),)))


def jump_between_tapes():
    a = small(Tape("s", "0", {"0": "a"}), Tape("t", "0", {"0": "a"}))
    a.label("here")
    a.on("t")
    a.goto("here")


def undefined_label():
    a = small()
    a.goto("nowhere")
    a.assemble()


def label_twice():
    a = small()
    a.label("x")
    a.label("x")


def label_without_a_way():
    a = small()
    a.goto("x")
    a.label("y")


def code_after_a_jump():
    a = small()
    a.goto("x")
    a.move("R")


def no_end():
    a = small()
    a.move("R")
    a.assemble()


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (jump_between_tapes, "'here' is reached on tape 's' and on 't'"),
        (undefined_label, "labels .'nowhere'. are nowhere defined"),
        (label_twice, "'x' is defined twice"),
        (label_without_a_way, "'y': nothing before it leads here; name its tape"),
        (code_after_a_jump, "instruction 1 follows a jump and has no label"),
        (no_end, "runs past its last instruction"),
        (lambda: small().write("2"), ".'2'. are not symbols of tape 't'"),
        (lambda: small().rules({"01": ("0", "R", HERE), "1": (None, "R", HERE)}), "symbol twice"),
        (lambda: small().on("u"), "expected one of the tapes .'t'., got 'u'"),
        (lambda: small().layout("0", "0"), "expected 1 tapes, got 2"),
        (lambda: small(Tape("s", "0"), Tape("t", "0")).layout("0", "0"), "needs one of .. for a"),
        (lambda: small(Tape("s", "0", {"0": "a"}), Tape("t", "a")), "marks .'a'. are symbols"),
        (lambda: small(Tape("s", "0", {"1": "a"})), "marks .'1'., not its symbols"),
    ],
)
def test_programs_that_make_no_sense_are_refused(program, reason):
    with pytest.raises(ValueError, match=reason):
        program()
