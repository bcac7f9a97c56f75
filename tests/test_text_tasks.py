"""Tasks in words: laws as in the tables they come from, pools drawn from them."""

from __future__ import annotations

import numpy as np
import pytest

from icl_sim.data.tasks import english_table, random_table
from icl_sim.data.text_pairs import choice_counts
from icl_sim.data.text_tasks import TEXT_TASKS, text_task
from icl_sim.errors import InputError


@pytest.mark.parametrize("name", TEXT_TASKS)
def test_a_task_is_fixed_by_its_index(name):
    first, again, other = text_task(name), text_task(name), text_task(name, 1)
    assert (first.pool, first.held_out, first.choices) == (
        again.pool,
        again.held_out,
        again.choices,
    )
    assert first.held_out != other.held_out
    assert first.source
    data, truth = first.split(32)
    assert all(set(labels) <= set(first.choices) for labels in truth.labels)
    assert all(pair in first.pool[: 2**16] for pair in data.demonstrations)


@pytest.mark.parametrize(
    ("name", "sizes"), [("tables", (8, 8)), ("tables", (100, 40)), ("english", (5, 3))]
)
def test_demonstrations_of_a_table_follow_its_law(name, sizes):
    m, V = sizes
    task = text_task(name, 2, contexts=m, vocab=V)
    law = (random_table if name == "tables" else english_table)(2, contexts=m, vocab=V).law
    assert np.array_equal(task.laws, law)
    assert len({*task.queries}) == m
    assert len({*task.choices}) == V
    N = 20_000
    counts = choice_counts(task.split(N, 5)[0])
    expected = N / m * law
    # Five standard errors of a count, and one more for what is rare.
    assert (np.abs(counts - expected) <= 5 * np.sqrt(expected) + 5).all()
    assert counts.sum() == N
    held = np.array([[labels.count(y) for y in task.choices] for labels in task.split(0)[1].labels])
    assert (held[law == 0] == 0).all()


def test_names_and_sizes_that_there_are_not():
    with pytest.raises(InputError, match="got tabels: did you mean tables"):
        text_task("tabels")
    with pytest.raises(InputError, match="one word each, got 20002"):
        text_task("tables", contexts=20_000, vocab=2)
