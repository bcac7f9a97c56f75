"""C1.network: the fine-tuned law is a network's that was really fine-tuned. See docs/c1.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.bounds.tokens import abstract
from icl_sim.claims.claim import FALSE, HOLDS, OPEN, REPLICATES, Outcome, Run, Statement
from icl_sim.claims.evidence import Size, trials
from icl_sim.data.tasks import empirical_law, random_table, sample_demonstrations
from icl_sim.data.text_tasks import text_task
from icl_sim.errors import InputError
from icl_sim.predictors import get_predictor
from icl_sim.predictors.language_model import Question, load_language_model
from icl_sim.pretrained.models import SMOLLM2, find_model
from icl_sim.statistics.cells import TailCell
from icl_sim.statistics.intervals import CERTIFIED, REFUTED
from icl_sim.training import TrainConfig, completions, tune_sequences
from icl_sim.training.base_model import CONTEXTS, load_base, output_laws
from icl_sim.transformer import Transformer

ID = "C1.network"
# Contexts and symbols: few, so that the size fits into the base's window.
SHAPE, EPS, DELTA = (2, 4), 0.4, 0.1
NETWORKS = {"smoke": 2, "standard": 4, "full": 16}
TABLES = 30_000  # index of the first table, apart from all other tasks
EXAMPLES = 256  # of each network's fine-tuning
CONFIG = TrainConfig(learning_rate=3e-3, steps=120, batch=64)
SEPARATOR = CONTEXTS - 1  # between a context and its completion
# What answers from the demonstrations in the prompt: weights that count, and the pretrained base.
ANSWERS = ("lookup", "in-context")

_draw = jax.jit(partial(sample_demonstrations, total=EXAMPLES))


def network_experiment(run: Run, *, size: Size = abstract, estimator: str = ANSWERS[0]) -> Outcome:
    """C1.network: are ``size`` demonstrations drawn from a fine-tuned network enough?

    Judged for ``estimator``, frozen weights that read them in the prompt; the pretrained base is
    measured beside it.
    """
    m, V = SHAPE
    n = size(vocab=V, eps=EPS, delta=DELTA, contexts=m)
    networks = _networks(run)
    cells = [
        TailCell(
            f"{which}/{name}/n={n}",
            _trial(name, n),
            (np.asarray(network["law"], np.float32),),
            EPS,
            DELTA,
        )
        for which, network in networks.items()
        for name in dict.fromkeys((estimator, *ANSWERS))
    ]
    sampled = run.sweep(ID, cells, replicates=REPLICATES[run.profile])
    judged = [cell for cell in sampled if f"/{estimator}/" in cell.id]
    beside = [cell for cell in sampled if f"/{ANSWERS[1]}/" in cell.id]
    if any(cell.verdict == REFUTED for cell in judged):
        verdict = FALSE
    else:
        verdict = HOLDS if all(cell.verdict == CERTIFIED for cell in judged) else OPEN
    moved = min(network["moved"] for network in networks.values())
    also = f", {SMOLLM2} among them" if any(SMOLLM2 in name for name in networks) else ""
    return Outcome(
        verdict=verdict,
        replicates=trials(sampled),
        why=(
            f"{len(networks)} networks, at least {moved:.2f} in total variation from the base that "
            f"they were tuned from{also}; {n} demonstrations a context of each: {estimator} fails "
            f"at {max(cell.estimate for cell in judged):.3f}, the pretrained base in context at "
            f"{max(cell.estimate for cell in beside):.3f}, allowed {DELTA}"
        ),
        figures={
            "sampled": [asdict(cell) for cell in sampled],
            "networks": list(networks.values()),
        },
    )


def _networks(run: Run) -> dict[str, dict[str, Any]]:
    """By name: the base tuned on several tables; beyond smoke SmolLM2 too, where it is."""
    makers = [("network", fine_tuned_network)] * NETWORKS[run.profile]
    if run.profile != "smoke" and _installed():
        makers.append((SMOLLM2, fine_tuned_language_model))
    networks = {}
    for index, (kind, make) in enumerate(makers):
        key = jax.random.fold_in(run.key, index)
        networks[f"{kind} {index}"] = run.store.result(
            f"{ID}/{kind}={index}", partial(make, index, key)
        )
        run.progress(f"{ID} networks", index + 1, len(makers))
    return networks


def _installed() -> bool:
    try:
        find_model(SMOLLM2)
    except InputError:
        return False
    return True


def fine_tuned_network(index: int, key: jax.Array) -> dict[str, Any]:
    """The base after fine-tuning on one table.

    An example is context, separator, output. The loss is on the output, which depends on a token
    before the last: so attention has to be trained, too.

    Args:
      index: of the table.
      key: consumed.

    Returns:
      law: [m, V], the network's, the softmax of its logits restricted to the outputs.
      moved: mean total variation to the base's law behind the same prompts.
      error: to the empirical law of the examples.
      attention: largest change of a weight of queries and keys.
    """
    m, V = SHAPE
    base = load_base()
    table = random_table(TABLES + index, contexts=m, vocab=V).law
    draw_key, tune_key = jax.random.split(key)
    data = _draw(draw_key, table)
    pairs = [
        ([int(c), SEPARATOR], [CONTEXTS + int(y)])
        for c, y in zip(np.asarray(data.contexts), np.asarray(data.outputs), strict=True)
    ]
    tuned = tune_sequences(
        Transformer(base.spec), base.params, completions(pairs), config=CONFIG, key=tune_key
    ).params
    prompts = jnp.stack([jnp.arange(m, dtype=jnp.int32), jnp.full(m, SEPARATOR, jnp.int32)], axis=1)
    law, before = (
        np.asarray(output_laws(base.spec, params, prompts, V), np.float64)
        for params in (tuned, base.params)
    )
    counted = np.asarray(empirical_law(data.counts), np.float64)
    attention = max(
        float(jnp.abs(tuned[name] - leaf).max())
        for name, leaf in base.params.items()
        if name.endswith((".w_q", ".w_k"))
    )
    return {
        "law": law.tolist(),
        "moved": float(np.abs(law - before).sum(axis=1).mean() / 2),
        "error": float(np.abs(law - counted).sum(axis=1).mean() / 2),
        "attention": attention,
    }


def fine_tuned_language_model(index: int, key: jax.Array) -> dict[str, Any]:
    """SmolLM2 after LoRA of rank 8 on one table in words.

    An example is a noun and the noun behind it, under a header; the loss is on the second.

    Args:
      index: of the table.
      key: consumed.

    Returns:
      law, moved, error: as of `fine_tuned_network`, the base's law being its law without examples.
    """
    m, V = SHAPE
    base = load_language_model(SMOLLM2)
    data, _ = text_task("tables", TABLES + index, contexts=m, vocab=V).split(EXAMPLES)
    question = Question(data, base)
    law = np.asarray(get_predictor("lora-8", kind="language")(question, key), np.float64)
    before = np.asarray(get_predictor("zero-shot", kind="language")(question, key), np.float64)
    counted = np.asarray(get_predictor("counts", kind="language")(question, key), np.float64)
    return {
        "law": law.tolist(),
        "moved": float(np.abs(law - before).sum(axis=1).mean() / 2),
        "error": float(np.abs(law - counted).sum(axis=1).mean() / 2),
    }


@lru_cache(maxsize=8)
def _trial(name: str, n: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    # One function object for each answer and size, so that its code is compiled once.
    predictor = get_predictor(name)

    def trial(key: jax.Array, law: jax.Array) -> jax.Array:
        draw_key, answer_key = jax.random.split(key)
        law = law / law.sum(axis=1, keepdims=True)
        data = sample_demonstrations(draw_key, law, per_context=n)
        answer = predictor(data, answer_key)
        return jnp.max(jnp.abs(answer - law).sum(axis=1) / 2)

    return trial


STATEMENT = Statement(
    id=ID,
    statement="C1.token's size holds where the fine-tuned law is a network's: drawn from a base "
    "that was really fine-tuned, and read by frozen weights from the prompt.",
    reading="The abstract speaks of a fine-tuned model; C1.token of any law. Ours: the shipped "
    "base, all leaves tuned on prompts of two tokens; its law on V outputs.",
    premises="The same number n_c of demonstrations for each context, drawn from the network's "
    "law; the hand-written lookup answers. The pretrained base is measured beside it: nothing is "
    "proved of it.",
    formula="n_c = ceil(V L/eps^2), L = ln(m/delta).",
    lower="C1.token's: no estimator needs fewer at its hardest laws.",
    basis="PROOF, TEST",
    derived=HOLDS,
    sources="C1.token; docs/c1.md",
    experiment=network_experiment,
)
