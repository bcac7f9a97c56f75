"""Pairs of text: templates as they are written, and what a split holds out."""

from __future__ import annotations

import numpy as np
import pytest

from icl_sim.data.text_pairs import Template, TextPair, TextTask, choice_counts
from icl_sim.errors import InputError

POOL = tuple(TextPair(f"p{i % 5}", "yes" if i % 3 else "no") for i in range(40))
TASK = TextTask("answers", POOL, POOL[:10], choices=("no", "yes"))


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("{prompt} {completion}", "{completion} {prompt}\n"),
        ("x {prompt}:{completion}.", "x {completion}:{prompt}."),
        ('{"q": "{prompt}",\n "a": {completion}}', '{"q": "{completion}",\n "a": {prompt}}'),
    ],
)
def test_a_pair_is_the_template_filled_in(text, whole):
    pair, template = TextPair("{completion}", "{prompt}"), Template(text)
    assert template.demonstration(pair) == whole
    assert whole.startswith(template.head(pair.prompt) + template.completion(pair.completion))
    assert not template.head("p").endswith((" ", "\n"))


@pytest.mark.parametrize(
    "text", ["{completion} {prompt}", "{prompt} {prompt} {completion}", "{prompt}", ""]
)
def test_templates_that_a_model_cannot_answer_are_refused(text):
    with pytest.raises(InputError, match="template: expected"):
        Template(text)


def test_splits_are_nested_without_replacement_and_fixed_by_the_seed():
    whole, truth = TASK.split(40, 3)
    assert sorted(whole.demonstrations) == sorted(POOL)
    assert TASK.split(7, 3)[0].demonstrations == whole.demonstrations[:7]
    assert TASK.split(40, 4)[0].demonstrations != whole.demonstrations
    assert whole.queries == ("p0", "p1", "p2", "p3", "p4")
    assert truth.labels == (
        ("no", "yes"),
        ("yes", "no"),
        ("yes", "yes"),
        ("no", "yes"),
        ("yes", "no"),
    )
    counts = choice_counts(whole)
    assert counts.sum() == 40
    assert counts[0, 1] == sum(pair == ("p0", "yes") for pair in POOL)
    with pytest.raises(InputError, match="expected 0 to 40 demonstrations, got 41"):
        TASK.split(41)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"choices": ("yes",)}, "expected two or more distinct choices"),
        ({"choices": ("yes", "yes")}, "expected two or more distinct choices"),
        ({"choices": ("yes", "maybe")}, "expected one of the choices yes, maybe, got 'no'"),
        ({"pool": ()}, "expected one or more demonstrations"),
        ({"held_out": ()}, "expected one or more held-out pairs"),
        ({"laws": np.full((5, 3), 1 / 3)}, "expected laws \\[5, 2\\]"),
        ({"laws": np.full((5, 2), 1 / 3)}, "sums off by 3.3e-01"),
        ({"laws": np.tile([2.0, -1.0], (5, 1))}, "the least entry -1.0e"),
    ],
)
def test_tasks_that_do_not_hold_together_are_refused(change, message):
    fields = {"pool": POOL, "held_out": POOL[:10], "choices": ("no", "yes")} | change
    with pytest.raises(InputError, match=message):
        TextTask("answers", **fields)
