"""Tables with known truth, and demonstrations drawn from them."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from icl_sim.data import corpora, tasks
from icl_sim.data.tasks import (
    empirical_law,
    english_table,
    english_tables,
    make_task,
    markov_table,
    random_table,
    sample_demonstrations,
    subset,
    text_table,
)
from icl_sim.errors import InputError


def test_every_english_table_is_a_table_of_counts_without_an_empty_row():
    tables = english_tables(contexts=8, vocab=8)
    assert tables == 552
    seen = set()
    for index in range(tables):
        task = english_table(index)
        assert task.counts.shape == (8, 8)
        assert (task.counts.sum(axis=1) > 0).all()
        np.testing.assert_allclose(task.law.sum(axis=1), 1, rtol=1e-14)
        assert len(set(task.outputs)) == 8
        assert not seen & set(task.contexts)
        seen |= set(task.contexts)


def test_english_counts_are_those_of_the_file():
    task = english_table(0)
    of = task.contexts.index("of")
    assert task.counts[of, task.outputs.index("the")] == 177_045_273_024
    assert task.counts[of, task.outputs.index("a")] == 24_771_873_664


def test_tables_of_other_sizes_exist_and_impossible_ones_are_refused():
    assert english_table(2, contexts=3, vocab=16).law.shape == (3, 16)
    with pytest.raises(InputError, match="expected a table index below 552"):
        english_table(552)
    with pytest.raises(InputError, match="expected vocab >= 2, got 1"):
        random_table(vocab=1)
    with pytest.raises(InputError, match="expected contexts >= 1"):
        english_table(contexts=0)
    with pytest.raises(
        InputError,
        match="expected one of english, markov, tables, text, which are tables, .* got french",
    ):
        make_task("french")


def test_random_tables_are_fixed_by_their_index():
    assert np.array_equal(random_table(4).law, random_table(4).law)
    assert not np.array_equal(random_table(4).law, random_table(5).law)
    rows = np.concatenate([random_table(i, concentration=0.5).law for i in range(200)])
    # Dirichlet(a) on V outputs: the variance of an entry is (1/V)(1 - 1/V)/(a V + 1).
    variance = rows.var()
    assert variance == pytest.approx(7 / 64 / 5, rel=0.06)


def test_demonstrations_per_context_are_allotted_and_in_random_order():
    law = random_table(1, contexts=5, vocab=3).law
    data = sample_demonstrations(jax.random.key(0), law, per_context=40)
    assert data.counts.sum(axis=1).tolist() == [40] * 5
    assert data.contexts[:40].tolist() != [0] * 40
    recounted = np.zeros((5, 3), int)
    np.add.at(recounted, (np.asarray(data.contexts), np.asarray(data.outputs)), 1)
    assert np.array_equal(recounted, data.counts)


def test_outputs_follow_the_law():
    law = english_table(0).law
    n = 20_000
    data = sample_demonstrations(jax.random.key(2), law, per_context=n)
    counts = np.asarray(data.counts)
    assert (counts[law == 0] == 0).all()
    sigma = np.sqrt(law * (1 - law) * n)
    assert (np.abs(counts - n * law) <= 5 * sigma + 1e-6).all()


def test_drawn_contexts_are_uniform():
    data = sample_demonstrations(jax.random.key(3), jnp.eye(4), total=40_000)
    counts = np.asarray(data.counts).sum(axis=1)
    assert np.abs(counts - 10_000).max() <= 5 * np.sqrt(40_000 * 3 / 16)


def test_a_subset_is_drawn_without_replacement():
    data = sample_demonstrations(jax.random.key(4), random_table(0).law, per_context=10)
    part = subset(jax.random.key(5), data, 30)
    assert part.contexts.shape == (30,)
    assert (np.asarray(part.counts) <= np.asarray(data.counts)).all()
    assert np.array_equal(subset(jax.random.key(6), data, 80).counts, data.counts)
    with pytest.raises(InputError, match="expected 0 to 80"):
        subset(jax.random.key(5), data, 81)


def test_sampling_needs_one_design():
    for options in ({}, {"per_context": 1, "total": 2}):
        with pytest.raises(InputError, match="one of per_context and total"):
            sample_demonstrations(jax.random.key(0), jnp.eye(2), **options)


def test_the_empirical_law_of_nothing_is_uniform():
    law = empirical_law(np.array([[0, 0, 0, 0], [2, 1, 1, 0]]))
    assert law.dtype == jnp.float32
    assert law.tolist() == [[0.25] * 4, [0.5, 0.25, 0.25, 0.0]]
    np.testing.assert_allclose(empirical_law(np.array([[3, 0]]), smoothing=1.0), [[0.8, 0.2]])


def test_reading_the_bigrams_runs_no_code_of_the_package():
    program = (
        "import sys; from icl_sim.data.tasks import english_table; english_table(0); "
        "sys.exit('symspellpy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_a_missing_or_changed_data_file_is_one_line(monkeypatch):
    for name, value, read, words in (
        ("find_spec", lambda name: None, corpora.english_bigrams, "pip install symspellpy"),
        ("BIGRAMS_SHA256", "0" * 64, corpora.english_bigrams, "install the locked symspellpy"),
        ("TEXT_SHA256", "0" * 64, corpora.letters, "SHA-256 000000000000"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(corpora, name, value)
            with pytest.raises(InputError, match=words):
                read.__wrapped__()


def test_text_tables_are_counts_of_neighboring_letters():
    table = text_table(3, contexts=4, vocab=6)
    text = corpora.letters()
    neighbors = list(pairwise(text))
    for row, left in zip(table.counts, table.contexts, strict=True):
        assert row.tolist() == [neighbors.count((left, right)) for right in table.outputs]
    assert (text_table(4, contexts=4, vocab=6).counts != table.counts).any()
    np.testing.assert_allclose(table.law.sum(axis=1), 1)


def test_a_chain_leads_from_states_to_states():
    chain = markov_table(2, contexts=5, vocab=5)
    assert chain.contexts == chain.outputs
    assert (chain.law != random_table(2, contexts=5, vocab=5).law).any()
    with pytest.raises(InputError, match="as many outputs as contexts"):
        markov_table(0, contexts=3, vocab=4)
    with pytest.raises(InputError, match="at most 27"):
        text_table(0, contexts=28, vocab=4)


@pytest.mark.parametrize("V", [1, 2, 3, 8, 1000])
def test_bisection_finds_what_comparing_with_every_threshold_finds(V):
    law = jnp.asarray(np.random.default_rng(V).dirichlet(np.full(V, 0.2), 6), jnp.float32)
    contexts = jnp.arange(3000, dtype=jnp.int32) % 6
    outputs = tasks.draw_outputs(jax.random.key(7), law, contexts)
    thresholds = np.asarray(jax.vmap(tasks.integer_thresholds)(law))[contexts]
    uniform = np.asarray(jax.random.bits(jax.random.key(7), (3000,), jnp.uint32) >> 1)
    assert outputs.dtype == jnp.int32
    assert np.array_equal(outputs, (uniform[:, None] >= thresholds).sum(axis=1))


def test_demonstrations_are_the_same_jitted_and_of_a_task_or_its_law():
    task = english_table(1)
    draw = jax.jit(lambda key, law: sample_demonstrations(key, law, total=50))
    eager = sample_demonstrations(jax.random.key(8), task, total=50)
    jitted = draw(jax.random.key(8), task.law)
    for one, other in zip(eager, jitted, strict=True):
        assert one.dtype == other.dtype == jnp.int32
        assert np.array_equal(one, other)


def test_no_demonstrations_are_allowed_and_fewer_refused():
    nothing = sample_demonstrations(jax.random.key(9), jnp.eye(2), per_context=0)
    assert nothing.contexts.shape == (0,)
    assert nothing.counts.tolist() == [[0, 0], [0, 0]]
    with pytest.raises(InputError, match="total >= 0, got -1"):
        sample_demonstrations(jax.random.key(9), jnp.eye(2), total=-1)
    with pytest.raises(InputError, match=r"expected a law \[m, V\]"):
        sample_demonstrations(jax.random.key(9), jnp.ones(2), total=1)
