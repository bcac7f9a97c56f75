"""Public functions called with values that nobody means: a right answer, or one line."""

from __future__ import annotations

import inspect
from fractions import Fraction
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import icl_sim
from constructions import CONSTRUCTIONS
from icl_sim import (
    MemoryStore,
    Sampling,
    Template,
    TextPair,
    TextTask,
    TrainConfig,
    bm25_scores,
    check_lemma,
    compare,
    completions,
    costs,
    distances_over,
    emulate,
    emulate_looped,
    exact_failure_probability,
    find_machine,
    fine_tune,
    forward,
    from_pretrained,
    generate,
    load,
    load_base,
    load_weights,
    make_task,
    read_machine,
    read_pairs,
    register_predictor,
    retrieve,
    sample_demonstrations,
    sample_size,
    save_weights,
    simultaneous_intervals,
    summarize,
    text_task,
    total_variation,
    total_variation_from_hidden,
    total_variation_from_logits,
    write_report,
)
from icl_sim.divergence import jensen_shannon, kl_divergence
from icl_sim.predictors.registry import PREDICTORS

HOSTILE = {
    "none": None,
    "nan": float("nan"),
    "inf": float("inf"),
    "minus inf": float("-inf"),
    "true": True,
    "minus one": -1,
    "zero": 0,
    "half": 0.5,
    "fraction": Fraction(1, 3),
    "2^31": 2**31,
    "2^32 + 1": 2**32 + 1,
    "2^64": 2**64,
    "10^400": 10**400,
    "tiny": 5e-324,
    "huge": 1e308,
    "complex": 1 + 2j,
    "text": "text",
    "digits": "9" * 5000,
    "empty text": "",
    "bytes": b"bytes",
    "object": object(),
    "type": int,
    "function": len,
    "dict": {"a": 1},
    "set": {1},
    "empty list": [],
    "ragged": [[1, 2], [3]],
    "deep": [[[[[[1]]]]]],
    "nan array": np.array([np.nan, 1]),
    "inf array": np.array([[np.inf, -np.inf]]),
    "negative array": np.array([[-1.0, 2.0]]),
    "no rows": np.zeros((0, 2)),
    "no columns": np.zeros((2, 0)),
    "scalar array": np.array(1.5),
    "five axes": np.zeros((1, 1, 1, 1, 2)),
    "objects": np.array([None, 1], object),
    "words": np.array(["a", "b"]),
    "dates": np.array(["2020-01-01"], "datetime64[D]"),
    "record": np.zeros(2, [("a", "f4")]),
    "half precision": np.array([0.5, 0.5], np.float16),
    "unsigned": np.array([0, 2**63], np.uint64),
    "longdouble": np.array([[0.5, 0.5]], np.longdouble),
}

LAW = np.array([[0.25, 0.75]])
HIDDEN = (np.ones((2, 3)), np.ones((3, 4))) * 2
LOOKUP = CONSTRUCTIONS["lookup"](vocab=3, contexts=2)
PROMPT = LOOKUP.encode({"pairs": [(0, 2), (1, 0)], "query": 0})


def of(function, *first, **named):
    """A call that works, by the names of its arguments; the first ones have no keyword."""
    return function, first, named


MODEL, PARAMS = load(LOOKUP)
TEXTS = (TextPair("a", "b"), TextPair("a", "c"))


def drawn(law, **sizes):
    """Demonstrations, of a key that nothing else has consumed."""
    return sample_demonstrations(jax.random.key(0), law, **sizes)


CALLS = {
    "total_variation": of(total_variation, LAW, LAW),
    "total_variation_from_logits": of(total_variation_from_logits, LAW, LAW),
    "kl_divergence": of(kl_divergence, LAW, LAW),
    "jensen_shannon": of(jensen_shannon, LAW, LAW),
    "total_variation_from_hidden": of(total_variation_from_hidden, *HIDDEN),
    "sample_size": of(sample_size, vocab=3, eps=0.2, delta=0.1, contexts=2, length=1, dim=2),
    "exact_failure_probability": of(exact_failure_probability, vocab=3, n=9, eps=0.2, contexts=1),
    "forward": of(forward, LOOKUP.spec, LOOKUP.params, PROMPT),
    "find_machine": of(find_machine, "bb2"),
    "read_machine": of(read_machine, "/nowhere"),
    "make_task": of(make_task, "tables", 0),
    "emulate": of(emulate, find_machine("bb2"), "", engine="cached", max_steps=4),
    "load": of(load, LOOKUP),
    "TrainConfig": of(
        TrainConfig, learning_rate=0.1, steps=9, warmup=1, momentum=0.5, clip=1.0, batch=2, rank=2
    ),
    "bm25_scores": of(bm25_scores, ["a"], ["a b"]),
    "check_lemma": of(
        partial(check_lemma, jax.random.uniform), bound=0.3, delta=0.2, max_trials=100
    ),
    "compare": of(compare, "tables", sizes=[], predictors=["counts"], tasks=1, seeds=1, vocab=2),
    "completions": of(completions, [([1], [2])], length=4, pack=False),
    "costs": of(costs, [], contexts=2),
    "distances_over": of(
        distances_over, "d", None, LAW, LAW, contexts=4, key=None, store=MemoryStore()
    ),
    "emulate_looped": of(emulate_looped, "nothing", "3", engine="dense", max_steps=9),
    "fine_tune": of(fine_tune, MODEL, PARAMS, None, config=TrainConfig(steps=1), key=None),
    "from_pretrained": of(from_pretrained, "/nowhere", tokenizer=False),
    "generate": of(generate, MODEL, PARAMS, PROMPT, steps=1, engine="dense", stop=None),
    "load_base": of(load_base, "/nowhere"),
    "load_weights": of(load_weights, "/nowhere"),
    "read_pairs": of(
        read_pairs, "/nowhere.csv", prompt_column="a", choices=["a", "b"], header="x", held_out=2
    ),
    "register_predictor": of(register_predictor, "no name", len, kind="table"),
    "retrieve": of(retrieve, np.ones((2, 3)), 2),
    "sample_demonstrations": of(drawn, LAW, per_context=2),
    "save_weights": of(save_weights, "/nowhere/w", LOOKUP.spec, LOOKUP.params),
    "simultaneous_intervals": of(simultaneous_intervals, [3, 4], alpha=0.1, method="goodman"),
    "summarize": of(summarize, [0.1, 0.2], bound=0.3, quantiles=(0.5,)),
    "text_task": of(text_task, "english", 0, contexts=2, vocab=2),
    "write_report": of(write_report, None, "/nowhere/out"),
    "Sampling": of(Sampling, temperature=0.5, top_k=2, top_p=0.5),
    "Template": of(Template, "{prompt} {completion}", header="x"),
    "TextTask": of(
        TextTask, name="n", pool=TEXTS, held_out=TEXTS[:1], choices=("b", "c"), laws=LAW
    ),
}


# Public functions that are not called here: what they do with any one value takes long, or changes
# the process. What is no `Any` in their signatures is checked as that of the others is.
LEFT_OUT = {
    *("compare_language", "judge", "register_claim", "register_construction", "reproduce"),
    *(
        "sample_tokens",
        "to_pretrained",
        "train_base",
        "train_sft",
        "tune_sequences",
        *("verify", "verify_trace"),
    ),
}


def test_every_public_function_is_called_or_left_out_for_a_reason():
    public = {name for name in icl_sim.__all__ if inspect.isfunction(getattr(icl_sim, name))}
    assert public - CALLS.keys() == LEFT_OUT
    for name in public - {"register_construction"}:
        function = getattr(icl_sim, name)
        said = [p.annotation for p in inspect.signature(function).parameters.values()]
        assert hasattr(function, "__wrapped__") or set(said) == {"Any"}, name


@pytest.fixture(params=[False, True], ids=["x32", "x64"])
def x64(request):
    jax.config.update("jax_enable_x64", request.param)
    yield
    jax.config.update("jax_enable_x64", True)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A text may be the path of a file that is written, or the name of a new route."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("icl_sim.predictors.registry.PREDICTORS", dict(PREDICTORS))


def places(calls):
    """The name of each call and each of its arguments, by position or keyword."""
    for name, (_, first, named) in calls.items():
        yield from ((name, place) for place in [*range(len(first)), *named])


@pytest.mark.parametrize(("name", "place"), [*places(CALLS)])
def test_a_hostile_argument_is_answered_or_refused_in_one_line(name, place, x64):
    assert not faults(CALLS, name, place)


def faults(calls, name, place, *, left=()):
    """What is wrong with how a call ends, for each hostile value there but those left out."""
    function, first, named = calls[name]
    wrong = {}
    for what, value in HOSTILE.items():
        if what in left:
            continue
        arguments, options = list(first), dict(named)
        (arguments if isinstance(place, int) else options)[place] = value
        fault = fault_of(name, lambda: function(*arguments, **options))  # noqa: B023
        if fault:
            wrong[what] = fault
    return wrong


def fault_of(name, call):
    """What is wrong with how a call ends; an empty text if nothing is."""
    try:
        found = call()
    except ValueError as error:  # InputError is one
        text = str(error)
        return f"a message of {len(text)} characters" * ("\n" in text or len(text) > 1000)
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:200]
    return "" if can_be_right(name, found) else f"answered {found}"


def can_be_right(name, found):
    """Whether an answer can be true at all."""
    if not name.startswith(("total_variation", "jensen", "exact")):
        return True
    values = np.asarray(found, float)
    distance = not name.startswith("exact")  # of NaN it is NaN
    return bool(((values >= 0) & (values <= 1) | (distance & np.isnan(values))).all())


def test_tracers_are_answered_or_refused_in_one_line():
    law = jnp.asarray(LAW)
    np.testing.assert_array_equal(jax.jit(total_variation)(law, law), [0])
    for name in ("sample_size", "exact_failure_probability"):
        function, _, named = CALLS[name]
        for place in named:

            def traced(value, function=function, named=named, place=place):
                function(**named | {place: value})
                return value

            assert fault_of("traced", lambda traced=traced: jax.jit(traced)(0.2)) == ""
