"""Machine files as people write them, and what a refusal must look like."""

from __future__ import annotations

INCREMENT = """
# binary increment
input: '1011'
blank: ' '
start state: right
table:
  right:
    [1, 0]: R
    ' ': {L: carry}
  carry:
    1      : {write: 0, L}
    [0,' ']: {write: 1, L: done}
  done:
"""

ADDITION = """
blank: ' '
start state: right
synonyms:
  accept: {R: done}
table:
  right: {[0,1,O,I,+]: R, ' ': {L: take}}
  take: {0: {write: ' ', L: zero}, 1: {write: ' ', L: one}, +: {write: ' ', L: tidy}}
  zero: {[0,1]: L, +: {L: add0}}
  one: {[0,1]: L, +: {L: add1}}
  add0: {[0,' ']: {write: O, R: right}, 1: {write: I, R: right}, [O,I]: L}
  add1: {[0,' ']: {write: I, R: right}, 1: {write: O, L: carry}, [O,I]: L}
  carry: {[0,' ']: {write: 1, R: right}, 1: {write: 0, L}}
  tidy: {O: {write: 0, L}, I: {write: 1, L}, [0,1]: L, ' ': accept}
  done:
"""


def assert_one_line(error):
    assert "\n" not in str(error)
    assert "\r" not in str(error)
    assert str(error).isprintable()
