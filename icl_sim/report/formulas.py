"""Texts of words and formulas, written once for terminals, with their formulas as MathML.

A formula is what the grammar below reads: letters, numbers, the functions' names, groups, indices
and exponents, with operators or nothing between them. All else is text, and is escaped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from markupsafe import Markup, escape

SIGNS = {"<=": "\u2264", ">=": "\u2265", "!=": "\u2260", "->": "\u2192", "||": "\u2016"}
RELATIONS = ("<=", ">=", "!=", "->", "<", ">", "=", "~")
OPERATORS = (*RELATIONS, "||", "+", "-", "*", "/")
LETTERS = {
    **{"eps": "\u03b5", "delta": "\u03b4", "tau": "\u03c4", "rho": "\u03c1", "chi": "\u03c7"},
    **{"kappa": "\u03ba", "Pi": "\u03a0", "pi": "\u03c0", "infinity": "\u221e"},
}
NAMES = (  # mV is two letters, as the abstract writes them
    *("ln", "log", "exp", "min", "max", "atan", "ceil", "floor"),
    *("TV", "KL", "JS", "err", "mean", "Binomial", "mV"),
)
# Words, unless an operator follows: a, and A and I where a sentence begins.
ARTICLE = re.compile(r"(?:(?<![\w.])a|(?:^|(?<=[.:?!] ))[AI])(?= |[^\w ]|$)")
CLOSING = {"(": ")", "{": "}", "[": "]", "|": "|"}
OPENING = tuple(CLOSING)
SYMBOLS = (*OPERATORS, *OPENING, *CLOSING.values(), ",", ";")
DEEPEST = 30  # group within group
LONG = 18  # characters, from which on a line may end before any operator
NUMBER = re.compile(r"\d+(?:,\d{3})*(?:\.\d+)?(?:e[+-]?\d+)?(?![\w.]*\w)|\d+(?=[A-Za-z]\b)|\.\d+\b")
# Not what names a statement (C1.token), is part of a word (e.g., k-th) or of an abbreviation.
LETTER = re.compile(r"(?!C\d)[A-Za-z](?:\d(?!\d))?(?![A-Za-z'])(?!\d|\.\w|-[a-z]{2})")
WORD = re.compile("(?:" + "|".join((*LETTERS, *NAMES)) + r")(?![A-Za-z\d])")
START = re.compile(r"(?<![\w.'`\-/&])[\w.(\[{|]")
ENDS_WELL = re.compile(r"(?![\w'])(?!-[A-Za-z]{2})")
GAP = '<mspace width=".2em"></mspace>'


def formula(text: str) -> Markup:
    """A text whose formulas are MathML, one element up to each relation, so that lines can break.

    >>> formula("at TV <= eps^2: C3.tail")  # doctest: +ELLIPSIS
    Markup('at <math><mi>TV</mi></math> <math><mo form="infix" lspace="0">≤</mo>...: C3.tail')
    >>> formula("<em> is no formula")
    Markup('&lt;em&gt; is no formula')
    """
    done, at, pieces, reader = 0, 0, [], _Reader(text)
    while found := START.search(text, at):
        at = found.start()
        read = reader.expression(at)
        if read is None or not read.counts or not ENDS_WELL.match(text, read.end):
            at += 1
            continue
        pieces += [_plain(text[done:at]), _broken(read.parts)]
        done = at = read.end
    return Markup("".join([*pieces, _plain(text[done:])]))  # noqa: S704 - escaped piece by piece


def _plain(text: str) -> str:
    for sign in ("<=", ">=", "!="):
        text = text.replace(sign, SIGNS[sign])
    return str(escape(text))


def _broken(parts: tuple[str, ...]) -> str:
    """Elements `math` between which a line may end: before a relation, and within what is long."""
    done: list[str] = []
    line, width, depth, before = "", 0, 0, "("
    for part in parts:
        opens, closes = part in OPENING, part in CLOSING.values()
        joins = part in OPERATORS and before not in (*OPERATORS, *OPENING, ",", ";")
        between = " " if part in RELATIONS and not depth else "<wbr/>"
        if line and joins and (between == " " or width > LONG):
            done, line, width = [*done, f"<math>{line}</math>{between}"], "", 0
        starts = joins and not line
        line += _shown(part, starts)
        width += len(re.sub("<[^>]*>", "", part))
        depth += opens - closes
        before = part
    return "".join(done) + f"<math>{line}</math>"


def _shown(part: str, starts: bool = False) -> str:
    """A part as MathML; an operator that starts an element stands between operands all the same."""
    if part not in SYMBOLS:
        return part
    form = ' form="infix"' + ' lspace="0"' * (part in RELATIONS) if starts else ""
    sign = {"*": "\u00b7", "-": "\u2212", **SIGNS}.get(part, part)
    return f"<mo{form}>{escape(sign)}</mo>"


@dataclass(frozen=True)
class _Read:
    """What was read: its parts, with symbols as they were typed, and where it ends in the text."""

    parts: tuple[str, ...]
    end: int
    counts: bool = False  # more than numbers, names and groups

    @property
    def markup(self) -> str:
        return "".join(map(_shown, self.parts))

    @property
    def inside(self) -> str:
        """The markup of a group without its brackets."""
        return "".join(map(_shown, self.parts[1:-1]))


class _Reader:
    """Reads a formula from a place in the text on, as far as it goes; None: there is none."""

    def __init__(self, text: str):
        self._text = text
        self._groups: dict[int, _Read | None] = {}  # what was read at a place, read once
        self._depth = 0

    def expression(self, at: int) -> _Read | None:
        """Operands, with operators or nothing between them; one sign may stand before them."""
        first = self._signed(at)
        if first is None:
            return None
        parts, end, counts = [*first.parts], first.end, first.counts
        article = end == at + 1 and ARTICLE.match(self._text, at)
        while (step := self._next(end)) is not None:
            if article and step.parts[0] not in OPERATORS:
                return None
            article = False
            parts, end, counts = [*parts, *step.parts], step.end, True
        return None if article else _Read(tuple(parts), end, counts)

    def _next(self, at: int) -> _Read | None:
        start = self._blanks(at)
        for sign in OPERATORS:
            if self._text.startswith(sign, start):
                operand = self._signed(self._blanks(start + len(sign)))
                return operand and _Read((sign, *operand.parts), operand.end)
        if re.compile(r"in [{\[]").match(self._text, start):
            operand = self._operand(start + 3)
            return operand and _Read(("<mo>\u2208</mo>", *operand.parts), operand.end)
        operand = self._operand(start)
        if operand is None or (start > at and self._text[start] in "[{"):
            return None
        if operand.end == start + 1 and self._text[start : start + 2] == "a ":
            return None
        return _Read((*[GAP][: start > at], *operand.parts), operand.end)

    def _signed(self, at: int) -> _Read | None:
        """An operand that may have a sign before it."""
        if not self._text.startswith("-", at):
            return self._operand(at)
        read = self._operand(at + 1)
        return read and _Read(("-", *read.parts), read.end, read.counts)

    def _operand(self, at: int) -> _Read | None:
        read = self._root(at) or self._group(at) or self._atom(at)
        if read is None:
            return None
        base, end, scripts = read.markup, read.end, {}
        for mark in "_^":
            if self._text.startswith(mark, end) and (script := self._script(end + 1)):
                scripts[mark], end = script.markup, script.end
        if not scripts and re.compile(r"\*(?!\w)").match(self._text, end):
            scripts["^"], end = "<mo>*</mo>", end + 1
        if not scripts:
            return read
        name = {"_": "msub", "^": "msup", "_^": "msubsup"}["".join(scripts)]
        return _Read((f"<{name}>{_row(base)}{''.join(scripts.values())}</{name}>",), end, True)

    def _script(self, at: int) -> _Read | None:
        if self._text.startswith("*", at):
            return _Read(("<mo>*</mo>",), at + 1)
        signed = self._text.startswith("-", at)
        start = at + signed
        read = self._group(start)
        if read and not signed and self._text[start] == "(":  # its brackets only hold it together
            return _Read((_row(read.inside),), read.end)
        if read is None and (word := re.compile(r"[A-Za-z]+\d*|\d+").match(self._text, start)):
            read = self._atom(start)
            if read is None or read.end != word.end():
                read = _Read((f"<mi>{word[0]}</mi>",), word.end())
        return read and _Read((_row(("<mo>\u2212</mo>" * signed) + read.markup),), read.end)

    def _root(self, at: int) -> _Read | None:
        if not self._text.startswith("sqrt(", at):
            return None
        read = self._group(at + 4)
        return read and _Read((f"<msqrt>{read.inside}</msqrt>",), read.end, True)

    def _group(self, at: int) -> _Read | None:
        if at not in self._groups:
            self._groups[at] = None  # of one that is begun, and where it is nested too deeply
            if self._depth < DEEPEST:
                self._depth += 1
                self._groups[at] = self._inside(at)
                self._depth -= 1
        return self._groups[at]

    def _inside(self, at: int) -> _Read | None:
        opening = self._text[at : at + 1]
        if opening not in CLOSING or not opening:
            return None
        closing, parts = CLOSING[opening], [opening]
        end = at + 1
        counts = False
        while True:
            read = self.expression(self._blanks(end))
            if read is None:
                return None
            parts += read.parts
            counts |= len(read.parts) > 1
            end = self._blanks(read.end)
            sign = self._text[end : end + 1]
            end += 1
            if sign == closing:
                return _Read((*parts, closing), end, counts)
            if sign not in (",", ";"):
                return None
            parts.append(sign)

    def _atom(self, at: int) -> _Read | None:
        if found := NUMBER.match(self._text, at):
            return _Read((f"<mn>{found[0]}</mn>",), found.end())
        if self._text.startswith("sum_", at):
            return _Read(("<mo>\u03a3</mo>",), at + 3, True)
        if found := WORD.match(self._text, at):
            shown = LETTERS.get(found[0], found[0])
            return _Read((f"<mi>{shown}</mi>",), found.end(), found[0] in LETTERS)
        if found := LETTER.match(self._text, at):
            letter, digit = found[0][0], found[0][1:]
            mi = f"<mi>{letter}</mi>"
            shown = f"<msub>{mi}<mn>{digit}</mn></msub>" if digit else mi
            return _Read((shown,), found.end(), True)
        return None

    def _blanks(self, at: int) -> int:
        while self._text.startswith(" ", at):
            at += 1
        return at


def _row(markup: str) -> str:
    """The markup as one element."""
    return markup if re.fullmatch(r"<(m[ino])>[^<]*</\1>", markup) else f"<mrow>{markup}</mrow>"
