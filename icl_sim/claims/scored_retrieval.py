"""C6.scored and C6.misses: retrieval by a score, and misses that depend on the labels.

Letters: m contexts, V outputs, N demonstrations in the store, K in a prompt, n of a context.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from itertools import product
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.stats import binom

from icl_sim.bounds.retrieval import missed_error, retrieval_error
from icl_sim.claims.access_replicates import lookup_of, shown_trial
from icl_sim.claims.claim import FALSE, HOLDS, OPEN, Outcome, Run, Statement
from icl_sim.claims.evidence import Bound, tell, upheld
from icl_sim.data.rankings import bm25_scores, cosine_scores, precision_at, recall_at, retrieve
from icl_sim.data.tasks import random_table
from icl_sim.data.text_tasks import text_task
from icl_sim.statistics.cells import TailCell
from icl_sim.training.base_model import load_base
from icl_sim.training.pretraining_sequences import ALPHABET
from icl_sim.transformer import hidden

m, V, DELTA = 4, 4, 0.1
# Demonstrations of each context in the store, demonstrations of a prompt, replicates of a cell and
# data sets of a mean.
GRID = {
    "smoke": ((32, 96), (16, 64), 400, 500),
    "standard": ((32, 64, 96), (8, 16, 32, 64), 1000, 1000),
    "full": ((16, 32, 64, 96), (4, 8, 16, 32, 64, 96), 4000, 10_000),
}
LENGTH = 24  # words of a document
SPREAD = 0.3  # concentration of a context's law of words: the smaller, the easier to tell apart
RECALLS = (0.75, 0.5, 0.25)
STORED = (64, 1024, 16_384)
RANKED = 20  # stores that BM25 ranks


class Library(NamedTuple):
    """What a retriever sees; no labels.

    queries: m documents, one of each context.
    texts: N documents, those of context 0 first.
    """

    queries: list[Any]
    texts: list[Any]


Scores = Callable[[Library, np.random.Generator], np.ndarray]


def _relevant(library: Library) -> np.ndarray:
    """Whether a document is of the query's context, bool [m, N]."""
    N = len(library.texts)
    return np.arange(N)[None, :] // (N // m) == np.arange(m)[:, None]


def _by_words(library: Library, rng: np.random.Generator) -> np.ndarray:
    """BM25 of the documents' words."""
    del rng
    told = ([" ".join(map(str, text)) for text in texts] for texts in library)
    return bm25_scores(*told)


def _by_embeddings(library: Library, rng: np.random.Generator) -> np.ndarray:
    """Cosines of the mean of the base's last hidden states, less the mean over all documents."""
    del rng
    base = load_base()
    read = jax.jit(lambda params, tokens: hidden(base.spec, params, tokens).mean(axis=1))
    tokens = np.array([*library.queries, *library.texts], np.int32)
    states = np.asarray(read(base.params, tokens), np.float64)
    states -= states.mean(axis=0)
    return cosine_scores(states[:m], states[m:])


def _oracle(library: Library, rng: np.random.Generator) -> np.ndarray:
    """The query's own documents first: the limit of every retriever."""
    del rng
    return _relevant(library).astype(float)


def _at_random(library: Library, rng: np.random.Generator) -> np.ndarray:
    """Any documents."""
    return rng.random((m, len(library.texts)))


def _drawn_library(rng: np.random.Generator, n: int) -> Library:
    """Documents of words of the base's alphabet, drawn from a law of each context."""
    laws = rng.dirichlet(np.full(ALPHABET, SPREAD), m)
    drawn = [rng.choice(ALPHABET, (n + 1, LENGTH), p=law) for law in laws]
    return Library([texts[0] for texts in drawn], [text for texts in drawn for text in texts[1:]])


def _real_library(rng: np.random.Generator, n: int) -> Library:
    """Sentences of SciPy's documentation from four fields, the largest, in a random order."""
    fields: dict[str, list[str]] = {}
    for pair in text_task("topics", contexts=1).pool:
        fields.setdefault(pair.completion, []).append(pair.prompt)
    largest = sorted(fields, key=lambda name: (-len(fields[name]), name))[:m]
    chosen = [rng.permutation(fields[name])[: n + 1].tolist() for name in largest]
    return Library([[texts[0]] for texts in chosen], [[text] for t in chosen for text in t[1:]])


# Retriever -> library, scores.
RETRIEVERS: dict[str, tuple[Callable[[np.random.Generator, int], Library], Scores]] = {
    "BM25": (_drawn_library, _by_words),
    "embeddings": (_drawn_library, _by_embeddings),
    "BM25, real texts": (_real_library, _by_words),
    "random": (_drawn_library, _at_random),
    "oracle": (_drawn_library, _oracle),
}


def scored_experiment(
    run: Run,
    *,
    bound: Bound = retrieval_error,
    retrievers: Mapping[str, tuple[Any, Scores]] = RETRIEVERS,
    precision: Callable[[np.ndarray, np.ndarray], np.ndarray] = precision_at,
    answer: str = "lookup",
) -> Outcome:
    """C6.scored: does a prompt of what scores best keep the bound at its measured precision?

    Retrievers see texts and no labels. Of each (N, K) recall and precision are measured; the error
    of all m queries at once is sampled through the lookup, and its mean beside the oracle's, which
    shows all own demonstrations before any other.
    """
    stored, shown, replicates, sets = GRID[run.profile]
    law = random_table(0, contexts=m, vocab=V).law
    rows, cells = [], []
    for (name, (library_of, score)), n in product(retrievers.items(), stored):
        library = library_of(run.stream("library", library_of.__name__, n), n)
        relevant = _relevant(library)
        scores = score(library, run.stream("scores", name, n))
        # Filled up to the largest store, so that all cells of one K share their compiled code.
        contexts = np.resize(np.arange(m, dtype=np.int32).repeat(n), m * max(stored))
        for K in shown:
            chosen = retrieve(scores, K)
            own = np.rint(precision(chosen, relevant) * K)
            allowed = [
                bound(
                    vocab=V,
                    retrieved=n,
                    recall=k / n,
                    delta=DELTA,
                    contaminated=1 - k / K,
                    contexts=m,
                )
                for k in own
            ]
            rows.append(
                {
                    "retriever": name,
                    "store": m * n,
                    "K": K,
                    "recall": float(recall_at(chosen, relevant).mean()),
                    "precision": float(precision_at(chosen, relevant).mean()),
                    "tv": _mean_error(run, law, contexts, chosen, sets),
                    "oracle": _mean_error(run, law, contexts, retrieve(relevant * 1.0, K), sets),
                    "bound": float(max(allowed)),
                }
            )
            certified = lookup_of(m, V, K).certificate.error(2 * K + 2)
            arrays = law.astype(np.float32), contexts, chosen.astype(np.int32)
            cells.append(
                TailCell(
                    id=f"{name}/N={m * n}/K={K}/allowed={max(allowed):.4f}/{answer}",
                    trial=shown_trial(answer),
                    args=(*arrays, np.array(allowed, np.float32)),
                    eps=float(certified) + 1e-6,  # and that of allowed in float32
                    delta=DELTA,
                )
            )
            run.progress("C6.scored", len(rows), len(retrievers) * len(stored) * len(shown))
    sampled = run.sweep("C6.scored", cells, replicates=replicates)
    told = "; ".join(
        f"{row['retriever']}: recall {row['recall']:.2f}, precision {row['precision']:.2f}, "
        f"TV {row['tv']:.3f}"
        for row in rows
        if (row["store"], row["K"]) == (m * stored[-1], shown[-1])
    )
    return upheld(
        sampled,
        why=f"{tell(sampled)}; {shown[-1]} of {m * stored[-1]} shown, {told}",
        figures={
            "scored": rows,
            "sampled": [asdict(cell) | {"delta": DELTA} for cell in sampled],
        },
    )


def _mean_error(
    run: Run, law: np.ndarray, contexts: np.ndarray, chosen: np.ndarray, sets: int
) -> float:
    """Mean total variation of what is shown over queries and data sets, the same for each K."""
    edges = law.cumsum(axis=1)[contexts, :-1]
    uniform = run.stream("outputs", len(contexts)).random((sets, len(contexts), 1))
    outputs = (uniform >= edges).sum(axis=2)[:, chosen]
    shares = (outputs[..., None] == np.arange(V)).mean(axis=2)
    return float(np.abs(shares - law).sum(axis=2).mean() / 2)


def first_shown(n: int, K: int) -> np.ndarray:
    """How often output 0 is shown if it stands N_0 = 0 .. n times in the store: first of all."""
    return np.minimum(np.arange(n + 1), K)


def misses_experiment(
    run: Run,
    *,
    bound: Bound = retrieval_error,
    corrected: Bound = missed_error,
    shown: Callable[[int, int], np.ndarray] = first_shown,
) -> Outcome:
    """C6.misses: does recall r alone give the error of r n fair samples?

    Two outputs, and a retriever that shows one of them first; the failure probability exactly, as
    a sum over the binomial law of how often it stands in the store. That BM25 over whole texts is
    such a retriever, where the query names an output, is seen on random stores.
    """
    rows = [
        _missed_row(p, n, recall, bound, corrected, shown)
        for p, n, recall in product((0.5, 0.25), STORED, RECALLS)
    ]
    ranked = [_ranked_row(run, i) for i in range(RANKED)]
    fails = {row["recall"] for row in rows if row["failure"] > DELTA}
    broken = sum(row["corrected_failure"] > DELTA for row in rows)
    first = sum(row["shown"] == min(row["K"], row["stored"]) for row in ranked)
    attained = max(row["mean_tv"] / (1 - row["recall"]) for row in rows)
    worst = max(rows, key=lambda row: row["failure"])
    return Outcome(
        verdict=FALSE if fails == set(RECALLS) and not broken and first == len(ranked) else OPEN,
        why=(
            f"recall {worst['recall']}, {worst['n']} in the store: the bound fails with "
            f"probability {worst['failure']:.3g}; it fails at {len(fails)} of {len(RECALLS)} "
            f"recalls; with 1 - r in its place {broken} "
            f"of {len(rows)} cells fail, and {attained:.3f} of 1 - r is reached in the mean; BM25 "
            f"shows the named output first in {first} of {len(ranked)} stores"
        ),
        figures={"exact": rows, "ranked": ranked},
    )


def _missed_row(
    p: float,
    n: int,
    recall: float,
    bound: Bound,
    corrected: Bound,
    shown: Callable[[int, int], np.ndarray],
) -> dict[str, Any]:
    K = int(recall * n)
    chance = binom.pmf(np.arange(n + 1), n, p)
    tv = np.abs(shown(n, K) / K - p)
    allowed = bound(vocab=2, retrieved=n, recall=recall, delta=DELTA)
    repaired = corrected(vocab=2, stored=n, recall=recall, delta=DELTA)
    return {
        "p": p,
        "n": n,
        "recall": recall,
        "shown": K,
        "mean_tv": float(chance @ tv),
        "bound": allowed,
        "failure": float(chance[tv > allowed].sum()),
        "corrected": repaired,
        "corrected_failure": float(chance[tv > repaired].sum()),
    }


def _ranked_row(run: Run, i: int, n: int = 32, K: int = 16) -> dict[str, Any]:
    """BM25 over lines of a text and its label, the query naming a label: how often it is shown."""
    labels = run.stream("ranked", i).choice(["red", "blue"], n)
    scores = bm25_scores(["is the hat red"], [f"the hat is {label}" for label in labels])
    found = labels[retrieve(scores, K)[0]]
    stored = int((labels == "red").sum())
    return {"store": i, "stored": stored, "K": K, "shown": int((found == "red").sum())}


SCORED = Statement(
    id="C6.scored",
    statement="A prompt of the K demonstrations whose texts score best has the error of its own k "
    "of them, and 1 - k/K for the others: BM25, and embeddings of the base.",
    reading="As C6.retrieval, and the retriever is one that ranks by a score of the texts: recall "
    "and precision are measured, not assumed. All K stand under the query's context.",
    premises="The score sees texts and no labels; given the texts, outputs are independent draws "
    "from the laws of their contexts; the lookup answers.",
    formula="TV <= (k/K) min{ (sqrt(V-1)/2 + sqrt(L/2))/sqrt(k), sqrt((ln(2^V - 2) + L)/(2 k)) } "
    "+ 1 - k/K, L = ln(m/delta).",
    lower="The oracle's error: k = min(K, n).",
    basis="PROOF, TEST",
    derived=HOLDS,
    sources="Robertson and Zaragoza 2009; Lewis et al. 2020; docs/c6.md",
    experiment=scored_experiment,
)
MISSES = Statement(
    id="C6.misses",
    statement="At recall r a retrieved prompt has the error of r n fair samples, whatever it is "
    "that is missed.",
    reading="As C6.retrieval, without its premise: the retriever may index labels, as one that "
    "ranks whole passages does.",
    premises="n demonstrations of the query's context in the store, r n of them shown, chosen by "
    "any rule, with knowledge of the outputs.",
    formula="TV <= `certified_error`(r n), the bound of C6.retrieval; a rule that shows one output "
    "first is min(1 - p, p (1 - r)/r) off in the limit.",
    lower="1 - r in the limit, where the output that is shown has p = r.",
    basis="PROOF, EXACT",
    derived=FALSE,
    corrected="TV <= (1 - kappa)(bound(n) + 1 - r) + kappa, whatever is missed; 1 - r is attained.",
    sources="docs/c6.md",
    experiment=misses_experiment,
)
