"""Public functions called with values that nobody means: a right answer, or one line.

What takes minutes begins, and is cut there: by then its arguments were understood.
"""

from __future__ import annotations

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hostile import Begun, fault_of, faults, of, places
from stock_models import CASES

import icl_sim
from constructions import CONSTRUCTIONS
from constructions.spec import Layer, TransformerSpec
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
    compare_language,
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
    judge,
    load,
    load_base,
    load_weights,
    make_task,
    read_machine,
    read_pairs,
    register_claim,
    register_construction,
    register_predictor,
    reproduce,
    retrieve,
    sample_demonstrations,
    sample_size,
    sample_tokens,
    save_weights,
    simultaneous_intervals,
    summarize,
    text_task,
    to_pretrained,
    total_variation,
    total_variation_from_hidden,
    total_variation_from_logits,
    train_base,
    train_sft,
    tune_sequences,
    verify,
    verify_trace,
    write_report,
)
from icl_sim.claims import CLAIMS
from icl_sim.divergence import jensen_shannon, kl_divergence
from icl_sim.predictors.language_model import load_language_model
from icl_sim.predictors.registry import PREDICTORS
from icl_sim.pretrained import read_config
from icl_sim.transformer import CERTIFIED, Transformer, init

LAW = np.array([[0.25, 0.75]])
HIDDEN = (np.ones((2, 3)), np.ones((3, 4))) * 2
LOOKUP = CONSTRUCTIONS["lookup"](vocab=3, contexts=2)
PROMPT = LOOKUP.encode({"pairs": [(0, 2), (1, 0)], "query": 0})


MODEL, PARAMS = load(LOOKUP)
TEXTS = (TextPair("a", "b"), TextPair("a", "c"))


def drawn(law, **sizes):
    """Demonstrations, of a key that nothing else has consumed."""
    return sample_demonstrations(jax.random.key(0), law, **sizes)


def tuned(*arguments, key=None, **options):
    """A model tuned, with a key that nothing else has consumed, unless there is one."""
    key = jax.random.key(0) if key is None else key
    return tune_sequences(*arguments, key=key, **options)


DECODER = TransformerSpec(4, 4, 4, (Layer(heads=1, key_size=2, value_size=2, hidden=2),))
WEIGHTS = init(Transformer(DECODER), jax.random.key(0))
UNIVERSAL = CONSTRUCTIONS["universal"](states=2, steps=10, cells=10)
LANGUAGE = load_language_model("base")
_, STOCK = read_config(CASES["llama"], name="config.json")

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
    "compare_language": of(
        compare_language,
        LANGUAGE,
        **{"task": "tables", "data": None, "prompt_column": "a", "completion_column": "b"},
        **{"choices": ["a", "b"], "template": None, "header": "x", "held_out": 2, "sizes": [4]},
        **{"predictors": ["counts"], "tasks": 1, "seeds": 1, "contexts": 2, "vocab": 2},
        **{"tuning": TrainConfig(steps=1), "seed": 0, "store": None},
    ),
    "judge": of(judge, ["C4.finite"], profile="smoke", seed=0, store=None),
    "register_claim": of(register_claim, CLAIMS["C1"]),
    "register_construction": of(register_construction, "lookup", len),
    "reproduce": of(reproduce, profile="smoke", seed=0, out="out", resume=True),
    "sample_tokens": of(
        sample_tokens,
        *(MODEL, PARAMS, [PROMPT]),
        **{"steps": 1, "prefix": None, "stop": (), "sampling": Sampling(), "key": None},
        how=CERTIFIED,
    ),
    "to_pretrained": of(
        to_pretrained,
        *(Transformer(STOCK), "out"),
        **{
            "params": init(Transformer(STOCK), jax.random.key(0)),
            "tokenizer": None,
            "family": "llama",
            "dtype": "float32",
        },
        window=9,
    ),
    "train_base": of(train_base, "out", seed=0, replicas=0, steps=1, resume=True),
    "train_sft": of(
        train_sft,
        *("tables",),
        **{"sizes": [4], "tasks": 1, "seeds": 1, "config": None, "every": 20, "seed": 0},
        **{"out": None, "resume": False},
    ),
    "tune_sequences": of(
        tuned,
        *(Transformer(DECODER), WEIGHTS, completions([([1], [2])])),
        **{"config": TrainConfig(steps=1), "key": None, "held_out": completions([([1], [3])])},
        **{"every": 1, "patience": 1, "parts": 1, "devices": None, "mesh": None},
        **{"checkpoints": None, "how": CERTIFIED},
    ),
    "verify": of(verify, ["C4.finite"], profile="smoke", seed=0, out="verdicts", resume=True),
    "verify_trace": of(
        verify_trace,
        *(UNIVERSAL, find_machine("bb2").run("", 10)),
        **{"tape": "", "engine": "cached", "block": 16},
    ),
    "Sampling": of(Sampling, temperature=0.5, top_k=2, top_p=0.5),
    "Template": of(Template, "{prompt} {completion}", header="x"),
    "TextTask": of(
        TextTask, name="n", pool=TEXTS, held_out=TEXTS[:1], choices=("b", "c"), laws=LAW
    ),
}


# Where: experiments, tasks of text (swept by themselves), tokens, training.
CUT = (
    "icl_sim.claims._outcome",
    "icl_sim.comparison.texts.text_task",
    "icl_sim.decoding.token_sampling._start",
    "icl_sim.decoding.verification._check",
    "icl_sim.training.runs._references",
    "icl_sim.training.runs.pretrain",
    "icl_sim.training.sequence_tuning._Run.step",
)


def test_every_public_function_is_called():
    public = {name for name in icl_sim.__all__ if inspect.isfunction(getattr(icl_sim, name))}
    assert public <= CALLS.keys()
    for name in public - {"register_construction"}:
        function = getattr(icl_sim, name)
        said = [p.annotation for p in inspect.signature(function).parameters.values()]
        assert hasattr(function, "__wrapped__") or set(said) == {"Any"}, name


@pytest.fixture
def x64(request):
    jax.config.update("jax_enable_x64", request.param)
    yield
    jax.config.update("jax_enable_x64", True)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """A text may be the path of a file that is written, or the name of a new route."""

    def begin(*_, **__):
        raise Begun

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("icl_sim.predictors.registry.PREDICTORS", dict(PREDICTORS))
    monkeypatch.setattr(CONSTRUCTIONS, "_functions", dict(CONSTRUCTIONS._functions))
    for name in CUT:
        monkeypatch.setattr(name, begin)


# What asks no array of its caller is the same in either precision.
ONCE = {"compare_language", "judge", "register_claim", "register_construction", "reproduce"}
ONCE |= {"to_pretrained", "train_base", "train_sft", "verify", "verify_trace"}
SWEPT = [
    (*call, x64) for x64 in (False, True) for call in places(CALLS) if x64 or call[0] not in ONCE
]


@pytest.mark.parametrize(("name", "place", "x64"), SWEPT, indirect=["x64"])
def test_a_hostile_argument_is_answered_or_refused_in_one_line(name, place, x64):
    assert not faults(CALLS, name, place)


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
