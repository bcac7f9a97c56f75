"""Tasks in words: laws as in the tables they come from, pools drawn from them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from icl_sim.data import text_tasks
from icl_sim.data.tasks import english_table, random_table
from icl_sim.data.text_pairs import TextPair, choice_counts
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
    assert set(data.demonstrations) <= set(first.pool)


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
    for sizes in ({"index": -1}, {"contexts": 0}, {"vocab": 1}):
        with pytest.raises(InputError, match=rf"expected {next(iter(sizes))} >= ., got"):
            text_task("vader", **sizes)
    with pytest.raises(InputError, match="one word each, got 20002"):
        text_task("tables", contexts=20_000, vocab=2)


def test_what_raters_say_is_the_law_and_no_word_is_on_both_sides():
    task = text_task("vader", contexts=300)
    assert task.laws.shape == (300, 3)
    labels = task.split(0)[1].labels
    assert all(len(row) == 10 for row in labels)
    assert np.array_equal(
        task.laws, [[row.count(choice) / 10 for choice in task.choices] for row in labels]
    )
    assert 0.1 < (task.laws.max(axis=1) < 0.75).mean() < 0.5
    # One of the ten calls awful positive.
    said = Counter((*task.pool, *task.held_out))
    assert said["excellent", "positive"] == 10
    assert said["awful", "negative"] == 9
    assert len(task.pool) == 10 * (7059 - 300)
    assert not {pair.prompt for pair in task.pool} & set(task.queries)


def test_topics_are_sentences_of_one_field_each():
    task = text_task("topics", contexts=80)
    sentences = [pair.prompt for pair in (*task.pool, *task.held_out)]
    assert len(set(sentences)) == len(sentences)
    assert len(task.queries) == 80
    assert task.laws is None
    assert TextPair("Compute the matrix exponential of an array.", "algebra") in {
        *task.pool,
        *task.held_out,
    }
    each = Counter(pair.completion for pair in task.pool)
    assert set(each) == set(task.choices)
    assert min(each.values()) >= 40


@pytest.mark.parametrize("name", ["vader", "topics"])
def test_real_texts_have_sizes_of_their_own(name):
    with pytest.raises(InputError, match=f"{name}: expected . outputs, its choices, got 9"):
        text_task(name, vocab=9)
    with pytest.raises(InputError, match=f"{name}: expected at most .* held out, got 10000"):
        text_task(name, contexts=10_000)


def test_a_text_that_was_changed_is_not_used(monkeypatch):
    monkeypatch.setattr(text_tasks, "RATINGS_SHA256", "0" * 64)
    with pytest.raises(InputError, match=r"vader.tsv: expected SHA-256 000000000000\.\.\., got"):
        text_task("vader")


def test_every_text_that_ships_has_its_licence():
    folder = Path(text_tasks.__file__).parent
    notice = (folder / "NOTICE").read_text()
    texts = sorted(path.name for path in folder.iterdir() if path.suffix in (".tsv", ".txt"))
    assert texts == ["python-topics.txt", "topics.tsv", "vader.tsv"]
    assert all(f"{name} is an extract of" in notice for name in texts)
