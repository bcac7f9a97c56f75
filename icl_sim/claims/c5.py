"""C5, partial access to the data. Proofs: docs/c5.md."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import Any

import jax
import numpy as np

from icl_sim.bounds.partial import (
    missing_error,
    subset_expected_total_variation,
    subset_mean_error,
    subset_size,
)
from icl_sim.bounds.tokens import expected_total_variation, weissman
from icl_sim.claims.access_replicates import (
    base_fit,
    fresh_subset_trial,
    label,
    lookup_of,
    prompts,
    subset_trial,
)
from icl_sim.claims.claim import FALSE, HOLDS, REPLICATES, SHARE, Claim, Outcome, Run, Statement
from icl_sim.claims.evidence import Bound, tell, upheld
from icl_sim.execution.trials import BLOCK, run_blocks
from icl_sim.predictors import get_predictor
from icl_sim.statistics.cells import MeanCell, TailCell

ABSTRACT = (
    "We extend these results to practical scenarios with finite context lengths and partial "
    "dataset access."
)

V, DELTA = 4, 0.1
# Pool of each context, eps, and subsets whose mean error is sampled.
SAMPLED = {
    "smoke": (60, "0.25", (15, 30)),
    "standard": (60, "0.2", (8, 15, 30)),
    "full": (240, "0.15", (15, 30, 60, 120)),
}
# Pools, given by their counts, whose exact means are compared with the bound.
EXACT = ((10, 10), (1, 19), (100, 100), (13, 13, 14), (50, 30, 15, 5), (25,) * 8, (300, 60, 30, 10))
# Pools whose every sub-multiset is taken away in turn.
ENUMERATED = {"smoke": (6, 3), "standard": (10, 4), "full": (14, 4)}


def random_experiment(
    run: Run,
    *,
    size: Bound = subset_size,
    mean: Bound = subset_mean_error,
    answer: str = "lookup",
) -> Outcome:
    """C5.random: how near is the answer from a random subset to the pool's law, and to M_ft?

    The mean exactly, by hypergeometric laws, on many pools and every subset size; mean and tail by
    sampling through the model's forward pass, with all contexts in one prompt.
    """
    rows = list(_exact_rows(mean))
    pool, eps, subsets = SAMPLED[run.profile]
    pools, laws = _pools(pool)
    m = len(pools)
    n = size(vocab=V, pool=pool, eps=eps, delta=DELTA / m)
    fresh = weissman(vocab=V, eps=eps, delta=DELTA, contexts=m)
    # The weights' own error, certified, is not the subset's: the two are told apart.
    leak = float(lookup_of(m, V, m * max(pool, fresh)).certificate.error(2 * m * max(pool, fresh)))
    means = [
        MeanCell(
            id=f"N={pool}/n={k}/{label(answer)}",
            trial=subset_trial(answer, k, False),
            args=(pools, laws),
            bound=mean(vocab=V, pool=pool, n=k) + leak,
        )
        for k in subsets
    ]
    above = float(eps) + leak
    tails = [
        TailCell(
            f"N={pool}/n={n}/{label(answer)}/pool",
            subset_trial(answer, n, True),
            (pools, laws),
            above,
            DELTA,
        ),
        TailCell(
            f"N={2 * fresh}/n={fresh}/{label(answer)}/fine-tuned law",
            fresh_subset_trial(answer, 2 * fresh, fresh),
            (laws,),
            above,
            DELTA,
        ),
    ]
    mean_cells, tail_cells = (
        run.sweep(f"C5.random/{kind}", cells, replicates=REPLICATES[run.profile], alpha=SHARE / 2)
        for kind, cells in (("mean", means), ("tail", tails))
    )
    partial = [
        row
        for name in sorted({answer, "in-context"}, key=label)
        for row in _measured(run, name, pools, laws, _fitting(name, m, (*subsets, pool)))
    ]
    above_bound = [row for row in rows if row["mean"] > row["bound"] + 1e-12]
    broken = above_bound + [row for row in rows if row["n"] > 1 and row["mean"] >= row["fresh"]]
    # The whole pool in the prompt: nothing is left but what the weights leak.
    whole = [row for row in partial if (row["answer"], row["n"]) == (label(answer), pool)]
    broken += [row for row in whole if row["mean"] > leak]
    tightest = max(r["mean"] / r["bound"] for r in rows if r["bound"] > 0)
    return upheld(
        mean_cells,
        tail_cells,
        broken=broken,
        why=(
            f"{len(rows) - len(above_bound)} of {len(rows)} exact means keep the bound, at most "
            f"{tightest:.3f} of it, below those of n fresh samples, and 0 at n = N; through "
            f"{label(answer)}: means {tell(mean_cells)}, tails {tell(tail_cells)} (n = {n} of "
            f"{pool}; n = {fresh} against M_ft)"
        ),
        figures={
            "exact": rows,
            "mean": [
                asdict(cell) | {"answer": label(answer), "pool": pool, "n": k, "bound": c.bound}
                for cell, c, k in zip(mean_cells, means, subsets, strict=True)
            ],
            "tail": [asdict(cell) for cell in tail_cells],
            "partial": partial,
        },
    )


def _exact_rows(mean: Bound) -> Iterator[dict[str, Any]]:
    for pool in EXACT:
        N = sum(pool)
        for n in sorted({1, 2, N // 4, N // 2, N - 1, N}):
            yield {
                "counts": " ".join(map(str, pool)),
                "pool": N,
                "n": n,
                "mean": subset_expected_total_variation(pool=pool, n=n),
                "bound": mean(vocab=len(pool), pool=N, n=n),
                "with_replacement": subset_mean_error(vocab=len(pool), pool=10**12, n=n),
                "fresh": expected_total_variation(law=[Fraction(k, N) for k in pool], n=n),
            }


def _pools(N: int) -> tuple[np.ndarray, np.ndarray]:
    """Outputs int32 [3, N] and laws float32 [3, V] of three contexts' pools."""
    shares = np.array([[1, 1, 1, 1], [6, 3, 2, 1], [9, 1, 1, 1]])
    counts = N * shares // shares.sum(axis=1, keepdims=True)
    counts[:, 0] += N - counts.sum(axis=1)
    pools = np.stack([np.repeat(np.arange(V), row) for row in counts]).astype(np.int32)
    return pools, (counts / N).astype(np.float32)


def _fitting(answer: str, m: int, subsets: Sequence[int]) -> list[int]:
    """The subsets whose prompt, m n demonstrations, the model can read."""
    return [n for n in subsets if answer != "in-context" or m * n <= base_fit()]


def _measured(
    run: Run, answer: str, pools: np.ndarray, laws: np.ndarray, subsets: Sequence[int]
) -> list[dict[str, Any]]:
    """Rows of the figure: mean total variation to the pool's law over the size of the subset."""
    N = pools.shape[1]
    rows = []
    for n in subsets:

        def measure(n: int = n) -> float:
            trial = subset_trial(answer, n, False)
            errors = run_blocks(trial, key=run.key, trials=BLOCK, args=(pools, laws))
            return float(errors.astype(np.float64).mean())

        counts = (np.rint(laws.astype(np.float64) * N)).astype(int).tolist()
        exact = [subset_expected_total_variation(pool=pool, n=n) for pool in counts]
        rows.append(
            {
                "answer": label(answer),
                "pool": N,
                "n": n,
                "mean": run.store.result(f"C5.random/partial/{label(answer)}/{N}/{n}", measure),
                "exact": sum(exact) / len(exact),
                "bound": subset_mean_error(vocab=V, pool=N, n=n),
            }
        )
        run.progress(f"C5.random {label(answer)}", len(rows), len(subsets))
    return rows


def missing_experiment(
    run: Run, *, bound: Bound = missing_error, answer: str = "lookup"
) -> Outcome:
    """C5.missing: does an adversary who withholds a fraction rho reach TV rho, and no more?

    In fractions, over all pools of a size and all that can be taken from them; then through the
    model, on pools where the adversary attains it, and with a context wholly missing.
    """
    N, symbols = ENUMERATED[run.profile]
    rows = list(_enumerated(N, symbols, bound))
    through = [_through(answer, V, kept, taken, bound) for kept, taken in ((9, 1), (6, 2), (4, 4))]
    through += [_wholly(answer, size, bound) for size in (2, 4, 8)]
    beyond = [r for r in rows if r["largest"] > r["bound"]]
    beyond += [r for r in through if r["tv"] > r["bound"] + r["leak"]]
    short = [r for r in rows if r["largest"] < r["bound"]]
    short += [r for r in through if r["tv"] < r["bound"] - r["leak"]]
    return Outcome(
        verdict=FALSE if beyond or short else HOLDS,
        why=(
            f"all pools of {N} demonstrations of {symbols} symbols: {len(beyond)} fractions rho "
            f"with a total variation above the bound, {len(short)} at which it is not attained; "
            f"through {label(answer)}: "
            + ", ".join(f"{r['tv']:.4f} for {r['bound']:.4f}" for r in through)
        ),
        figures={"enumerated": rows, "through": through},
    )


def _compositions(total: int, parts: int) -> Iterator[tuple[int, ...]]:
    """Vectors of non-negative integers of that sum."""
    for cuts in itertools.combinations(range(total + parts - 1), parts - 1):
        ends = (-1, *cuts, total + parts - 1)
        yield tuple(b - a - 1 for a, b in itertools.pairwise(ends))


def _enumerated(N: int, symbols: int, bound: Bound) -> Iterator[dict[str, Any]]:
    """For each number withheld: the greatest TV over all pools and all choices."""
    pools = list(_compositions(N, symbols))
    for r in range(1, N):
        largest = Fraction(0)
        for taken in _compositions(r, symbols):
            for pool in pools:
                if all(t <= p for t, p in zip(taken, pool, strict=True)):
                    left = [p - t for p, t in zip(pool, taken, strict=True)]
                    off = sum(
                        abs(Fraction(k, N - r) - Fraction(p, N))
                        for k, p in zip(left, pool, strict=True)
                    )
                    largest = max(largest, Fraction(off) / 2)
        yield {
            "pool": N,
            "withheld": r,
            "largest": float(largest),
            "bound": float(bound(vocab=symbols, missing=r / N)),
        }


def _ask(answer: str, outputs: Sequence[int], contexts: Sequence[int], vocab: int) -> np.ndarray:
    """The law float64 [V] for query 0 of 2 contexts."""
    shown, said = (np.tile(np.array(row, np.int32), (2, 1)) for row in (contexts, outputs))

    @jax.jit
    def predict(contexts: jax.Array, outputs: jax.Array) -> jax.Array:
        return get_predictor(answer)(prompts(contexts, outputs, vocab), jax.random.key(0))

    return np.asarray(predict(shown, said)[0], np.float64)


def _through(answer: str, vocab: int, kept: int, taken: int, bound: Bound) -> dict[str, Any]:
    """A pool of ``kept`` times output 0 and ``taken`` times output 1, the latter withheld."""
    law = _ask(answer, [0] * kept + [1] * 5, [0] * kept + [1] * 5, vocab)
    pool = np.zeros(vocab)
    pool[:2] = kept, taken
    rho = taken / (kept + taken)
    return {
        "answer": label(answer),
        "case": f"{taken} of {kept + taken} withheld",
        "tv": float(np.abs(law - pool / pool.sum()).sum() / 2),
        "bound": float(bound(vocab=vocab, missing=rho)),
        "leak": float(lookup_of(2, vocab, kept + 5).certificate.error(2 * (kept + 5) + 2)),
    }


def _wholly(answer: str, vocab: int, bound: Bound) -> dict[str, Any]:
    """No demonstration of the query's context: the worst deterministic target."""
    law = _ask(answer, [0] * 5, [1] * 5, vocab)
    return {
        "answer": label(answer),
        "case": f"context missing, V = {vocab}",
        "tv": float(1 - law.min()),
        "bound": float(bound(vocab=vocab, missing=1)),
        "leak": float(lookup_of(2, vocab, 5).certificate.error(12)),
    }


CLAIM = Claim(
    id="C5",
    title="partial access to the data",
    abstract=ABSTRACT,
    statements=(
        Statement(
            id="C5.random",
            statement="A random subset of n of a context's N demonstrations errs by at most "
            "sqrt((V-1)/n (N-n)/(N-1))/2 in the mean against the pool, less than n fresh samples "
            "would; against the fine-tuned law it is n fresh samples.",
            reading="The abstract says that the results extend to partial access; it names no "
            "size. Ours: a uniformly random subset without replacement, total variation of one "
            "token, the empirical law of the subset answers.",
            premises="Subsets drawn uniformly, n of each context.",
            formula="E TV <= sqrt((V-1)/n (N-n)/(N-1))/2; P(TV > eps) <= exp(-2 t^2/B), or "
            "(2^V - 2) exp(-2 n eps^2/(1 - (n-1)/N)); 0 at n = N.",
            lower="Against the fine-tuned law, the necessary sizes of C1.token.",
            basis="PROOF, EXACT, TEST",
            derived=HOLDS,
            sources="Hoeffding 1963; Serfling 1974; El-Yaniv and Pechyony 2009; docs/c5.md",
            experiment=random_experiment,
        ),
        Statement(
            id="C5.missing",
            statement="Withholding a fraction rho of a context's demonstrations, whichever, moves "
            "the answer by at most rho in total variation, and this is attained; without any, the "
            "worst case is 1 - 1/V.",
            reading="Ours: an adversary chooses what is missing.",
            premises="The empirical law of what is left answers, the uniform law if nothing is.",
            formula="TV <= rho; 1 - 1/V at rho = 1.",
            lower="rho, and 1 - 1/V: attained.",
            basis="PROOF, EXACT",
            derived=HOLDS,
            sources="docs/c5.md",
            experiment=missing_experiment,
        ),
    ),
)
