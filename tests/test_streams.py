"""Streams of random numbers: one for each name, whatever the names' lengths."""

from __future__ import annotations

import itertools

import jax

from icl_sim.execution.streams import Fixed, stream


def test_different_names_draw_different_numbers():
    key = jax.random.key(3)
    names = [
        *(("trained", program, i) for program in ("counting", "logistic") for i in range(3)),
        *(("drawn", 2), ("drawn", "2"), ("drawn/2",), ("drawn", 2, 0), ("laws", 2), ()),
    ]
    drawn = [stream(key, *name).random(4).tolist() for name in names]
    drawn += [stream(jax.random.key(4), *name).random(4).tolist() for name in names]
    drawn += [purpose.stream(2, 3).random(4).tolist() for purpose in Fixed]
    assert all(a != b for a, b in itertools.combinations(drawn, 2))
    again = [stream(key, *name).random(4).tolist() for name in names]
    assert again == drawn[: len(names)]
