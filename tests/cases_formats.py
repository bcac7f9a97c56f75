"""Machines with published results, and writers of every text format that is read."""

from __future__ import annotations

import base64
import json

from cases_machines import random_machine

# (line, steps, symbols that are not 0). The champions: Rado 1962, Lin and Rado 1965, Brady 1983;
# their runners-up, the machines of 3 and 4 symbols and Schult's of 1983: P. Michel, Historical
# survey of busy beavers, https://bbchallenge.org/~pascal.michel/ha.html
PUBLISHED = {
    "1RB1LB_1LA1RZ": (6, 4),
    "1RB1RZ_1LB0RC_1LC1LA": (21, 5),
    "1RB1RZ_0LC0RC_1LC1LA": (20, 5),
    "1RB1LA_0RC1RZ_1LC0LA": (20, 5),
    "1RB1RZ_0RC1RB_1LC1LA": (14, 6),
    "1RB1RC_1LC1RZ_1RA0LB": (13, 6),
    "1RB1LC_1LA1RB_1LB1RZ": (13, 6),
    "1RB1RA_1LC1RZ_1RA1LB": (12, 6),
    "1RB1LC_1RC1RZ_1LA0LB": (11, 6),
    "1RB1LB_1LA0LC_1RZ1LD_1RD0RA": (107, 13),
    "1RB1LD_1LC0RB_1RA1LA_1RZ0LC": (97, 9),
    "1RB0RC_1LA1RA_1RZ1RD_1LD0LB": (96, 13),
    "1RB1LB_0LC0RD_1RZ1LA_1RA0LA": (96, 6),
    "1RB1LD_0LC0RC_1LC1LA_1RZ0LA": (84, 11),
    "1RB0RD_1LC0LA_1RA1LB_1RZ0RC": (78, 12),
    "1RB0LC_1RC1RD_1LA0RB_0RE1RZ_1LC1RA": (134_467, 501),
    "1RB2LB1RZ_2LA2RB1LB": (38, 9),
    "1RB0LB1RZ_2LA1RB1RA": (29, 8),
    "1RB3LA1LA1RA_2LA1RZ3RA3RB": (7195, 90),
    "1RB3LA1LA1RA_2LA1RZ3LA3RB": (6445, 84),
    "1RB2RB3LA2RA_1LA3RB1RZ1LB": (2351, 60),
}


def cells_of(machine):
    """The rows of a machine whose states are A, B, ... as transitions such as 1RB, or ---."""
    letter = {-1: "L", 1: "R"}
    rows = []
    for state in machine.working:
        row = []
        for symbol in sorted(machine.alphabet):
            rule = machine.delta.get((state, symbol))
            row.append("---" if rule is None else f"{rule[1]}{letter[rule[2]]}{rule[0]}")
        rows.append(row)
    return rows


def marxen(cell):
    return cell if cell == "---" else cell[2] + cell[:2]


def table(machine):
    head = "      " + "    ".join(sorted(machine.alphabet))
    rows = [
        f"{q:4} " + "  ".join(row)
        for q, row in zip(machine.working, cells_of(machine), strict=True)
    ]
    return "\n".join([head, *rows])


def record(machine):
    """Bytes of the seed database's form: the halting state as none, so it writes nothing then."""
    data = bytearray()
    for row in cells_of(machine):
        for cell in row:
            data += (
                bytes(3)
                if cell == "---"
                else bytes([int(cell[0]), "RL".index(cell[1]), ord(cell[2]) - 64])
            )
    return bytes(data)


# Machines of states A, B, ..., symbols 0, 1, ... that move at every step.
LETTERS = {
    "line": lambda m: "_".join("".join(row) for row in cells_of(m)),
    "small letters": lambda m: LETTERS["line"](m).lower(),
    "question marks": lambda m: LETTERS["line"](m).replace("---", "???"),
    "spaced": lambda m: "  ".join(" ".join(row) for row in cells_of(m)),
    "bars": lambda m: " | ".join(" ".join(row) for row in cells_of(m)),
    "Marxen": lambda m: "  ".join(" ".join(map(marxen, row)) for row in cells_of(m)),
    "Marxen, a row a line": lambda m: "\n".join(
        f"{q}: " + " ".join(map(marxen, row)) for q, row in zip(m.working, cells_of(m), strict=True)
    ),
    "table": table,
    "Markdown table": lambda m: "\n".join(
        [
            "| | " + " | ".join(sorted(m.alphabet)) + " |",
            "|---" * (len(m.alphabet) + 1) + "|",
            *(
                f"| {q} | " + " | ".join(row) + " |"
                for q, row in zip(m.working, cells_of(m), strict=True)
            ),
        ]
    ),
    "list entry": lambda m: f"# champions\n\n 3. {LETTERS['line'](m)}  halt, 12,345 steps // so\n",
    "link": lambda m: f"https://bbchallenge.org/{LETTERS['line'](m)}&s=10000&w=300&status=halt\n",
}


def morphett(machine):
    move = {-1: "l", 0: "*", 1: "r"}
    name = {machine.start: "0"}
    lines = ["; written by a test"]
    for (q, a), (after, w, d) in machine.delta.items():
        a, w = (("_" if x == machine.blank else x) for x in (a, w))
        ruled = after in machine.working or after == machine.start
        after = name.get(after, after) if ruled else f"halt-{after}"
        lines.append(f"{name.get(q, q)} {a} {w} {move[d]} {after} ; {q}")
    return "\n".join(lines)


def turingmachinesimulator(machine):
    move = {-1: "<", 0: "-", 1: ">"}
    halting = [q for q in machine.states if q not in machine.working]
    lines = [f"name: {machine.name}", f"init: {machine.start}", f"accept: {','.join(halting)}"]
    for (q, a), (after, w, d) in machine.delta.items():
        a, w = (("_" if x == machine.blank else x) for x in (a, w))
        lines += ["", f"{q},{a}  // read", f"{after},{w},{move[d]}"]
    return "\n".join(lines)


def jflap(machine):
    number = {q: i for i, q in enumerate(machine.states)}
    move = {-1: "L", 0: "S", 1: "R"}
    lines = ['<?xml version="1.0" encoding="UTF-8" standalone="no"?><!--Created with JFLAP 6.4.-->']
    lines += ["<structure>&#13;", "\t<type>turing</type>&#13;", "\t<automaton>&#13;"]
    for q, i in number.items():
        kind = "<initial/>" * (q == machine.start) + "<final/>" * (q not in machine.working)
        lines.append(f'<state id="{i}" name="{q}"><x>82.0</x><y>126.0</y>{kind}</state>')
    for (q, a), (after, w, d) in machine.delta.items():
        read, write = (("" if x == machine.blank else x) for x in (a, w))
        lines += [
            f"<transition><from>{number[q]}</from><to>{number[after]}</to><read>{read}</read>",
            f"<write>{write}</write><move>{move[d]}</move></transition>",
        ]
    return "\n".join([*lines, "</automaton></structure>"])


def yaml(machine):
    move = {-1: "L", 0: "N", 1: "R"}
    lines = [f"blank: '{machine.blank}'", f"start state: {machine.start}", "table:"]
    for q in machine.states:
        lines.append(f"  {q}:\t# a state")
        for (state, a), (after, w, d) in machine.delta.items():
            if state == q:
                lines.append(f"    {a}:\t{{write: {w}, {move[d]}: {after}}}")
    return "\n".join([*lines, "author: a test"])


def json_own(machine):
    move = {-1: "L", 0: "S", 1: "R"}
    rows = {q: {} for q in machine.states}
    for (q, a), (after, w, d) in machine.delta.items():
        rows[q][a] = [w, move[d], after]
    return json.dumps({"blank": machine.blank, "start": machine.start, "table": rows}, indent=1)


def json_library(machine):
    move = {-1: "L", 0: "N", 1: "R"}
    rows = {q: {} for q in machine.working}
    for (q, a), (after, w, d) in machine.delta.items():
        rows[q][a] = [after, w, move[d]]
    final = [q for q in machine.states if q not in machine.working]
    keys = {"initial_state": machine.start, "blank_symbol": machine.blank, "final_states": final}
    return json.dumps({"states": list(machine.states), "transitions": rows} | keys)


def json_course(machine):
    move = {-1: "LEFT", 0: "STAY", 1: "RIGHT"}
    rows = {q: [] for q in machine.working}
    for (q, a), (after, w, d) in machine.delta.items():
        rows[q].append({"read": a, "to_state": after, "write": w, "action": move[d]})
    final = [q for q in machine.states if q not in machine.working]
    document = {"name": "m", "blank": machine.blank, "initial": machine.start, "finals": final}
    return json.dumps(document | {"transitions": rows}, indent=2)


# Machines of any states and symbols.
NAMED = {
    "morphett": morphett,
    "turingmachinesimulator": turingmachinesimulator,
    "JFLAP": jflap,
    "turingmachine.io": yaml,
    "JSON": json_own,
    "automata-lib": json_library,
    "ft_turing": json_course,
}


def old_link(machine):
    text = base64.urlsafe_b64encode(record(machine)).decode().rstrip("=")
    return f"https://bbchallenge.org/m{text}&w=250"


def random_named(rng):
    """A machine for `NAMED`: its start has a rule."""
    while True:
        machine = random_machine(rng, int(rng.integers(1, 6)), int(rng.integers(2, 5)))
        if machine.start in machine.working:
            return machine
