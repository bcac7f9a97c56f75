"""Named Turing machines that compute known functions."""

from __future__ import annotations

from constructions.programs.program import Program, halting_state, tabled, written
from constructions.programs.tag_system import UNIVERSAL_MACHINE, TagSystem
from constructions.programs.turing import TuringMachine


def _parity(tape: str) -> str:
    return "odd" if tape.count("1") % 2 else "even"


PARITY = tabled(
    "parity",
    """
    e  0:R  1:R o  _:S even
    o  0:R  1:R e  _:S odd
    """,
    inputs=("", "1", "0110", "10110", "111000111"),
    oracle=_parity,
    answer=halting_state,
    max_steps=100,
)


def _balanced(tape: str) -> str:
    depth = 0
    for symbol in tape:
        depth += 1 if symbol == "(" else -1
        if depth < 0:
            return "no"
    return "no" if depth else "yes"


# Each closing bracket is crossed out with the nearest open one to its left.
DYCK = tabled(
    "dyck",
    """
    seek   (x:R  ):xL match  _:L check
    match  x:L   (:xR seek   _:S no
    check  x:L   (:S no      _:S yes
    """,
    inputs=("", "()", "(()())", "(()", "())(", "((()())())"),
    oracle=_balanced,
    answer=halting_state,
    max_steps=1000,
    source="Dyck language of one kind of bracket",
)


def _increment(tape: str) -> str:
    return format(int(tape or "0", 2) + 1, f"0{len(tape)}b")


INCREMENT = tabled(
    "increment",
    """
    right  01:R  _:L carry
    carry  1:0L  0:1S done  _:1S done
    """,
    inputs=("", "0", "1", "1011", "1111", "0011"),
    oracle=_increment,
    answer=written,
    max_steps=100,
    source="textbook; the carry may leave cell 0 to the left",
)


UNARY_ADDITION = tabled(
    "unary-addition",
    """
    left   1:R  +:1R right
    right  1:R  _:L erase
    erase  1:_S done
    """,
    inputs=("+", "1+", "+1", "111+11", "1111+11111"),
    oracle=lambda tape: tape.replace("+", ""),
    answer=written,
    max_steps=100,
)


def _binary_sum(tape: str) -> str:
    left, right = tape.split("+")
    return format(int(left, 2) + int(right, 2), f"0{max(len(left), len(right))}b")


# The last digit of the right number is erased and added to the first digit of the left one that is
# not yet a letter; O and I are digits of the sum that stand.
BINARY_ADDITION = tabled(
    "binary-addition",
    """
    right  01OI+:R  _:L take
    take   0:_L zero  1:_L one  +:_L tidy
    zero   01:L  +:L add0
    one    01:L  +:L add1
    add0   OI:L  0:OR right  1:IR right  _:OR right
    add1   OI:L  0:IR right  1:OL carry  _:IR right
    carry  0:1R right  1:0L  _:1R right
    tidy   O:0L  I:1L  01:L  _:R done
    """,
    inputs=("0+0", "1+1", "11+1", "1011+110", "1+001", "0101+1111"),
    oracle=_binary_sum,
    answer=written,
    max_steps=10_000,
)


PALINDROME = tabled(
    "palindrome",
    """
    start  0:_R has0   1:_R has1  _:S yes
    has0   01:R        _:L want0
    has1   01:R        _:L want1
    want0  0:_L back   1:S no     _:S yes
    want1  1:_L back   0:S no     _:S yes
    back   01:L        _:R start
    """,
    inputs=("", "0", "11", "10", "0110", "01010", "011010"),
    oracle=lambda tape: "yes" if tape == tape[::-1] else "no",
    answer=halting_state,
    max_steps=1000,
)


# The state remembers the symbol whose hole marks how far the copy has got.
COPY = tabled(
    "copy",
    """
    next    0:_R word0  1:_R word1  _:S done
    word0   01:R  _:R copy0
    copy0   01:R  _:0L back0
    back0   01:L  _:L hole0
    hole0   01:L  _:0R next
    word1   01:R  _:R copy1
    copy1   01:R  _:1L back1
    back1   01:L  _:L hole1
    hole1   01:L  _:1R next
    """,
    inputs=("", "0", "1", "10", "1101", "001011"),
    oracle=lambda tape: f"{tape}_{tape}" if tape else "",
    answer=written,
    max_steps=1000,
)


def _busy_beaver(name: str, line: str, steps: int, ones: int, source: str) -> Program:
    result = f"{ones} ones in {steps} steps"
    return Program(
        name=name,
        machine=TuringMachine.from_bbchallenge(line, name=name),
        inputs=("",),
        oracle=lambda tape: result,
        answer=lambda trace: f"{trace.tape.count('1')} ones in {trace.steps} steps",
        max_steps=steps,
        source=source,
    )


_TAG = TagSystem({"a": "ccbaH", "b": "cca", "c": "cc"})

UNIVERSAL = Program(
    name="universal",
    machine=UNIVERSAL_MACHINE,
    inputs=tuple(_TAG.encode(word) for word in ("baa", "bab", "acb")),
    oracle=lambda tape: str(_TAG.run(_TAG.word(tape), 1000)),
    answer=_TAG.decode,
    max_steps=1_000_000,
    source="Minsky, Computation (1967), section 14.8, as corrected by Robinson, Minsky's small"
    " universal Turing machine, Int. J. Math. 2 (1991); state S walks to the word",
)

_RADO = "Rado, On non-computable functions (1962); Lin and Rado (1965)"

PROGRAMS: dict[str, Program] = {
    program.name: program
    for program in (
        PARITY,
        DYCK,
        INCREMENT,
        UNARY_ADDITION,
        BINARY_ADDITION,
        PALINDROME,
        COPY,
        _busy_beaver("bb2", "1RB1LB_1LA1RZ", 6, 4, _RADO),
        _busy_beaver("bb3", "1RB1RZ_1LB0RC_1LC1LA", 21, 5, _RADO),
        _busy_beaver("bb4", "1RB1LB_1LA0LC_1RZ1LD_1RD0RA", 107, 13, "Brady (1983)"),
        _busy_beaver(
            "bb5",
            "1RB1LC_1RC1RB_1RD0LE_1LA1LD_1RZ0LA",
            47_176_870,
            4098,
            "Marxen and Buntrock, Attacking the Busy Beaver 5, Bulletin of the EATCS 40 (1990)",
        ),
        UNIVERSAL,
    )
}
