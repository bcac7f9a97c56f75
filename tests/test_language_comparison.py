"""Routes through one language model side by side: measures, floors, records, refusals."""

from __future__ import annotations

import json
import math
from dataclasses import astuple

import jax
import numpy as np
import pytest
from small_language_model import CHOICES, FEW_STEPS, PAIRS, model, task

from icl_sim.comparison import language_measures as measures
from icl_sim.comparison.language import compare_tasks, other_template
from icl_sim.data.text_pairs import TextPair, TextTask
from icl_sim.errors import InputError
from icl_sim.predictors import KINDS, PREDICTORS, Predictor, register_predictor
from icl_sim.predictors.language_tuning import adapted
from icl_sim.report.findings import Findings
from icl_sim.report.pages import render
from icl_sim.storage.json_form import json_form
from icl_sim.storage.records import digest
from icl_sim.storage.result_store import MemoryStore
from icl_sim.storage.store import Store
from icl_sim.training import TrainConfig

ROUTES = ("zero-shot", "in-context", "lora-8", "counts", "head", "even")
OPTIONS = {"sizes": (8, 16), "predictors": ROUTES, "tuning": FEW_STEPS}


def even(question, key):
    m, C = len(question.data.queries), len(question.data.choices)
    return np.full((m, C), 1 / C, np.float32)


@pytest.fixture(scope="module", autouse=True)
def registered():
    register_predictor("even", even, kind="language")
    yield
    del PREDICTORS["language/even"]


@pytest.fixture(scope="module")
def store():
    return MemoryStore()


@pytest.fixture(scope="module")
def found(store, registered):
    return compare_tasks(model(), [task(0), task(1)], store=store, **OPTIONS)


def test_the_matrix_has_every_pair_and_the_truth(found):
    assert found.predictors == (*ROUTES, "truth")
    for size in OPTIONS["sizes"]:
        for row in found.predictors:
            assert found.matrix[size][row][row].max == 0
            for column in found.predictors:
                cell = found.matrix[size][row][column]
                mirrored = found.matrix[size][column][row]
                assert astuple(cell) == pytest.approx(astuple(mirrored), abs=1e-12)
                assert 0 <= cell.low <= cell.mean <= min(cell.high, cell.max) + 1e-12
                assert max(cell.high, cell.max) <= 1 + 1e-12
    law = np.concatenate([task(i).laws for i in (0, 1)])
    by_hand = np.abs(law - 1 / 3).sum(axis=1).mean() / 2
    assert found.matrix[8]["even"]["truth"].mean == pytest.approx(by_hand, rel=1e-6)
    assert found.agreement[8]["counts"]["counts"].mean == 1
    assert found.truth == "law"


def test_floors_are_of_what_moves_a_route_and_of_nothing_else(found):
    floors = found.floors[8]
    assert floors.keys() == set(ROUTES) - {"counts"}
    assert floors["in-context"].keys() == {"order", "template"}
    assert floors["in-context"]["order"].mean > 0
    assert floors["zero-shot"].keys() == {"template"}
    assert floors["lora-8"].keys() == {"seed", "template"}
    assert all(cell.mean == 0 for cell in floors["even"].values())
    assert found.vocabulary_floors[8].keys() == {"zero-shot", "in-context", "lora-8", "head"}


def test_the_whole_vocabulary_is_compared_where_a_model_answers(found):
    whole = found.vocabulary["total_variation"][8]
    assert whole.keys() == {"zero-shot", "in-context", "lora-8", "head"}
    assert whole["head"]["zero-shot"].mean > 0
    assert whole["head"]["head"].max < 1e-6
    assert found.vocabulary["top1"][8]["lora-8"]["lora-8"].mean == 0


def test_what_is_recorded_is_found_again_to_the_bit(found, store, tmp_path):
    again = compare_tasks(model(), [task(0), task(1)], store=store, **OPTIONS)
    assert json_form(again) == json_form(found)
    kept = [r for r in store.records() if not r.key.startswith("language/16")]
    with Store(tmp_path, config={}) as half:
        for record in kept[::2]:  # some routes of a cell, and not their distances
            half.append(record)
        resumed = compare_tasks(model(), [task(0), task(1)], store=half, **OPTIONS)
        assert digest(half.records()) == digest(store.records())
    assert json.dumps(json_form(resumed.matrix)) == json.dumps(json_form(found.matrix))
    assert resumed.vocabulary == found.vocabulary
    assert {row.seconds is None for row in resumed.costs} <= {True, False}


def test_the_page_begins_with_five_sentences(found):
    assert len(found.summary) == 5
    page = render(Findings(language=(found,)))
    for title in ("How far is prompting", "Query by query", "Noise floors", "Cost against quality"):
        assert title in page
    assert page.index("held-out prompts of tiny") < page.index("<svg")
    assert "lora-8" in found.summary[1]
    assert "within 0.1 of lora-8" in found.summary[2]


def test_costs_count_what_is_read(found):
    rows = {(row.route, row.N): row for row in found.costs}
    assert ("counts", 8) not in rows
    prompted, tuned = rows["in-context", 8], rows["lora-8", 8]
    assert prompted.tokens_whole == 1 + 2 * 8 + 1
    assert tuned.tokens_once > 0
    assert tuned.bytes_trained == 4 * (tuned.bytes_kept - rows["zero-shot", 8].bytes_kept)
    saved = prompted.break_even
    assert saved is not None
    assert saved > 0


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ((0.4, 0.2, 0.1), 16 * 4**0.5),
        ((0.2, 0.2, 0.2), None),
        ((0.1, 0.1, 0.1), 4.0),
        ((0.1, 0.3, 0.2), None),
    ],
)
def test_the_number_of_demonstrations_is_interpolated_or_refused(curve, expected):
    draw = measures.Bootstrap([5])
    curves = {4**i: [np.full((1, 5), value)] for i, value in enumerate(curve, start=1)}
    eps = 0.15
    found = measures.reach(curves, draw, route="a", reference="b", eps=eps)
    if expected is None or expected == 4.0:
        assert expected == found.N
    else:
        assert pytest.approx(expected) == found.N
        assert found.low == pytest.approx(found.N)
        assert found.high == pytest.approx(found.N)


def test_intervals_cover_the_mean_as_often_as_they_say():
    rng, hits, runs = np.random.default_rng(0), 0, 100
    for _ in range(runs):
        tasks = rng.normal(size=(12, 1, 1)) + rng.normal(size=(12, 1, 20))
        _, low, high = measures.Bootstrap([20] * 12, 300).interval(list(tasks))
        hits += bool(low <= 0 <= high)
    # The two-stage bootstrap of a mean covers at least as often; five standard errors of room.
    assert hits / runs > 0.9 - 5 * math.sqrt(0.1 * 0.9 / runs)


def test_one_task_alone_has_an_interval_over_its_queries():
    figures = [np.random.default_rng(0).uniform(size=(1, 50))]
    mean, low, high = measures.Bootstrap([50]).interval(figures)
    assert low < mean < high


def test_quality_is_of_the_labels():
    laws = [np.array([[[[0.9, 0.1], [0.4, 0.6]]]])]  # [R, S, m, C]
    labels = [np.array([[[1.0, 0.0], [0.5, 0.5]]])]
    (found,) = measures.quality(laws, labels, measures.Bootstrap([2]))
    assert found.accuracy.mean == pytest.approx(0.75)
    by_hand = -(math.log(0.9) + 0.5 * math.log(0.4) + 0.5 * math.log(0.6)) / 2
    assert found.cross_entropy.mean == pytest.approx(by_hand)


def test_another_template_is_never_the_same():
    for text in (PAIRS.text, "{prompt} -> {completion}\n"):
        template = PAIRS.__class__(text, header="Pairs ")
        assert other_template(template).text != text
        assert other_template(template).header == "Pairs "


def free():
    """Completions of one to three words, of which those held out are not all of the pool's."""
    pairs = [("a", "red"), ("b", "not red"), ("c", "very not blue"), ("d", "green green")]
    pairs = tuple(TextPair(*pair) for pair in pairs)
    return TextTask("free", (*pairs, TextPair("a", "blue")), pairs[:3], template=PAIRS)


def test_free_completions_are_scored_whole():
    names = ("in-context", "lora-8", "counts")
    found = compare_tasks(model(), [free()], sizes=(5,), predictors=names, tuning=FEW_STEPS)
    assert found.choices == ("red", "not red", "very not blue")
    assert "stand as choices" in found.notes[0]
    assert 0 < found.matrix[5]["in-context"]["truth"].mean < 1
    assert found.matrix[5]["counts"]["truth"].mean == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"predictors": ("magic",)}, "expected one of calibrated.*got magic"),
        ({"predictors": ("counts", "counts")}, "distinct names"),
        ({"sizes": (65,)}, "expected 0 to 64 demonstrations, got 65"),
        ({"sizes": (0,)}, "at least 1"),
        ({"sizes": (40,)}, "the window of tiny"),
        ({"tasks": []}, "at least one task"),
    ],
)
def test_what_cannot_be_compared_is_one_line(changes, message):
    options = {"tasks": [task()]} | OPTIONS | changes
    with pytest.raises(InputError, match=message):
        compare_tasks(model(), options.pop("tasks"), **options)


def test_laws_that_are_none_are_refused():
    register_predictor("broken", lambda q, key: even(q, key) * 2, kind="language")
    try:
        with pytest.raises(InputError, match="broken, 4 demonstrations: expected laws"):
            compare_tasks(model(), [task()], sizes=(4,), predictors=("broken",))
    finally:
        del PREDICTORS["language/broken"]


@pytest.mark.slow
def test_the_error_of_fine_tuning_falls_like_the_root_of_n():
    tuning = TrainConfig(learning_rate=0.03, steps=100, schedule="cosine", batch=16)
    PREDICTORS["language/sft"] = Predictor(adapted("lora", 8), KINDS["language"], host=True)
    orders = []
    try:
        for seed in range(3):
            found = compare_tasks(
                model(),
                [task(i, pool=2048) for i in range(8)],
                sizes=(64, 256, 1024),
                predictors=("zero-shot", "sft", "counts"),
                tuning=tuning,
                seed=seed,
            )
            assert found.rates["sft"].low <= -0.5 <= found.rates["sft"].high
            assert found.matrix[1024]["sft"]["counts"].mean < 0.02
            cells = {n: found.matrix[1024][n]["truth"].mean for n in ("zero-shot", "sft")}
            orders.append(min(cells, key=cells.get))
    finally:
        del PREDICTORS["language/sft"]
    assert orders == ["sft"] * 3


def test_keys_differ_by_route_task_and_seed_and_not_by_size():
    seen = {}

    def spy(question, key):
        seen.setdefault(len(question.data.demonstrations), []).append(
            tuple(jax.random.key_data(key).tolist())
        )
        return even(question, key)

    register_predictor("spy", spy, kind="language")
    try:
        compare_tasks(model(), [task(0), task(1)], sizes=(4, 8), predictors=("spy",), seeds=2)
    finally:
        del PREDICTORS["language/spy"]
    assert seen[4] == seen[8]
    assert len(set(seen[4])) == 8  # of four cells, the key and the other seed
    assert task().choices == CHOICES
