"""Prompts filled by the constructions themselves: names, several queries, machines' runs."""

from __future__ import annotations

import numpy as np
import pytest

from constructions import CONSTRUCTIONS, Residual, TuringMachine, forward
from constructions.construction import machine_io
from constructions.fields import TokenRanges, vectors
from constructions.vocabulary import Transcript, Vocabulary, trace_of

BB2 = TuringMachine.from_bbchallenge("1RB1LB_1LA1RZ")


def test_a_name_that_no_field_has_is_refused():
    with pytest.raises(ValueError, match="fields: expected some of one, x, got label"):
        vectors(Residual(one=1, x=2), (1, {"x": [1, 2], "label": 3}))
    with pytest.raises(ValueError, match="tokens: expected one of context, start, got output"):
        TokenRanges({"context": 3, "start": 1})["output"]


@pytest.mark.parametrize(
    ("name", "options", "inputs"),
    [
        ("lookup", {"vocab": 3, "contexts": 4, "length": 64}, "contexts"),
        ("mixture", {"length": 64}, "contexts"),
        ("nadaraya-watson", {"dim": 4}, "inputs"),
        ("retrieval", {"dim": 4, "nearest": 2}, "inputs"),
    ],
)
def test_queries_behind_one_copy_of_the_data_answer_as_alone(name, options, inputs):
    built = CONSTRUCTIONS[name](**options)
    rng = np.random.default_rng(0)
    m = 4 if name != "mixture" else 2
    contexts, outputs = rng.integers(0, m, 12), rng.integers(0, 3, 12)
    queries = np.arange(m)
    if inputs == "contexts":
        data = {"contexts": contexts, "outputs": outputs}
    else:
        data, queries = {"inputs": np.eye(4)[contexts], "labels": outputs}, np.eye(4)
    together = forward(built.spec, built.params, built.fill(**data, queries=queries))[-m:]
    for found, query in zip(together, queries, strict=True):
        alone = forward(built.spec, built.params, built.fill(**data, queries=query[None]))[-1]
        np.testing.assert_allclose(found, alone, atol=1e-12)
        assert found[:3].sum() == pytest.approx(1)  # a law of the three outputs


def test_only_what_writes_a_run_has_tokens_of_machines():
    assert machine_io(CONSTRUCTIONS["single"]()).vocabulary == Vocabulary(2, 2)
    for name in ("lookup", "looped"):
        with pytest.raises(ValueError, match=f"{name}: expected a construction that writes"):
            machine_io(CONSTRUCTIONS[name]())


def test_a_transcript_ends_as_the_interpreter_by_code_and_by_name():
    io = machine_io(CONSTRUCTIONS["universal"](states=2, steps=100, cells=10))
    expected = BB2.run("", 100)
    transcript = Transcript(io.vocabulary).extend(io.transcribe(expected))
    for answer in (transcript.answer(), transcript.named(BB2)):
        found = trace_of(BB2, answer)
        assert (found.steps, found.halted, found.head) == (6, True, expected.head)
        assert (found.state, found.tape_start) == (expected.state, expected.tape_start)
        assert found.tape == expected.tape
        assert found.codes.size == 0
