"""2-tag systems, and a universal Turing machine that simulates them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from constructions.programs.program import from_table
from constructions.programs.turing import Trace

# The tape holds the productions and to their right the word. A letter of the word is N twos and a
# three, where the letter's production begins left of the N-th one from the productions' right end.
# It is read leftwards: for each letter produced its N as zeros, then a one and a zero; at the end
# two ones.
#
# B and A: for every two of the first letter, B goes left to the first one not yet crossed out, and
# A crosses out all that it passes on the way back (0 -> 2, 1 -> 3). The letter's three sends D left
# to the productions. E reads them: for a zero, C appends a two to the word, for one-zero G appends
# a three, and D returns. At two ones, F goes right, undoes the crossing out and erases the two
# letters up to the three of the second one, behind which A begins again. The three of a letter
# without twos sends D to a blank: it halts. S walks from the left end to the word.
UNIVERSAL_MACHINE = from_table(
    "universal",
    """
    S  0:R      1:R      2:0L B  3:2L D
    A  0:2R     1:3R     2:0L B  3:2L D
    B  0:L      1:3R A   2:0L    3:1L
    C  0:2L D   1:3R     2:R     3:1R
    D           1:3L     2:L     3:1L E
    E  0:2R C   1:L F    2:L     3:1L
    F  0:2R G   1:R      2:0R    3:0R A
    G  0:3L D   1:3R     2:R     3:1R
    """,
    blank="0",
)


@dataclass(frozen=True)
class TagSystem:
    """A 2-tag system: append the first letter's production, erase the first two letters.

    It halts when the first letter has no production; one letter, the halting one, has none.

    Args:
      productions: a word for every letter but the halting one.

    Raises:
      ValueError: other than one letter without production, or a letter of several characters.

    >>> system = TagSystem({"a": "ccbaH", "b": "cca", "c": "cc"})
    >>> system.run("baa", 100)
    'Hcccccca'
    >>> trace = UNIVERSAL_MACHINE.run(system.encode("baa"), 100_000)
    >>> system.decode(trace)
    'Hcccccca'

    Source: Post (1943); Cocke and Minsky, Universality of tag systems with P = 2, J. ACM 11 (1964).
    """

    productions: Mapping[str, str]

    def __post_init__(self) -> None:
        halting = sorted(set("".join(self.productions.values())) - set(self.productions))
        if len(halting) != 1:
            raise ValueError(
                f"a tag system needs one letter without production, got {len(halting)}: {halting}"
            )
        long = [letter for letter in self.productions if len(letter) != 1]
        if long:
            raise ValueError(f"a tag system's letters are single characters, got {long}")

    @property
    def units(self) -> dict[str, int]:
        """The number N of twos in the universal machine's code of each letter."""
        units, ones = {}, 1
        for letter, word in self.productions.items():
            units[letter] = ones
            ones += len(word) + 2  # one in each letter's one-zero, two at the end
        (halting,) = set("".join(self.productions.values())) - set(self.productions)
        return units | {halting: 0}

    def run(self, word: str, max_steps: int) -> str | None:
        """The word at which the system halts; None if it does not halt within max_steps.

        A word that shrinks to one letter does not halt either: it has no second letter to erase.
        """
        for _ in range(max_steps):
            if word[:1] not in self.productions or len(word) < 2:
                break
            word = word[2:] + self.productions[word[0]]
        return word if word and word[0] not in self.productions else None

    def encode(self, word: str) -> str:
        """The universal machine's tape for this system begun at a word.

        >>> TagSystem({"a": "bH", "b": ""}).encode("ab")
        '1111010100000123222223'

        Raises:
          ValueError: naming the letters that the system lacks.
        """
        units = self.units
        unknown = sorted(set(word) - set(units))
        if unknown:
            raise ValueError(f"letters {unknown} are not among the tag system's {sorted(units)}")
        text = "1"
        for produced in self.productions.values():
            text += "".join("0" * units[letter] + "10" for letter in produced) + "11"
        return text[::-1] + "".join("2" * units[letter] + "3" for letter in word)

    def word(self, tape: str) -> str:
        """The word that a tape of `encode` begins with."""
        return self._letters(tape[tape.rindex("1") + 1 :])

    def decode(self, trace: Trace) -> str:
        """The word on the tape of the halted universal machine, the halting letter first."""
        # The machine stands left of the halting letter's three, which has become a two.
        halting = self._letters("3")
        return halting + self._letters("".join(trace.tape[trace.head + 2 - trace.tape_start :]))

    def _letters(self, text: str) -> str:
        letters = {units: letter for letter, units in self.units.items()}
        return "".join(letters[len(code)] for code in text.split("3")[:-1])
