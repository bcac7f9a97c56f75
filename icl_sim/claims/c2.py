"""C2, text generation, bounded context: O( (l log V/eps^2) log(1/delta) ). Proofs: docs/c2.md."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.bounds.hash_bit import hash_bit_failure
from icl_sim.bounds.sequences import (
    abstract_sequence_size,
    dkw_size,
    events_size,
    sup_norm_size,
)
from icl_sim.bounds.suprema import independent_events_failure, sup_norm_failure_probability
from icl_sim.claims import many_at_once
from icl_sim.claims.claim import FALSE, HOLDS, LOOSE, REPLICATES, Claim, Outcome, Run, Statement
from icl_sim.claims.elicitation import elicitation_experiment
from icl_sim.claims.evidence import Size, tell, upheld
from icl_sim.claims.hash_bits import refute
from icl_sim.data.sampling import multinomial_counts
from icl_sim.execution.streams import Fixed
from icl_sim.statistics.cells import TailCell
from icl_sim.statistics.sweep import CellVerdict

ABSTRACT = (
    "For text generation tasks with fixed output length l, datasets of size [...] or, with bounded "
    "context, O( (l log V/eps^2) log(1/delta) ) suffice to approximate fine-tuned behavior across "
    "m contexts within error eps, where V is the vocabulary size and delta is the failure "
    "probability."
)

# Symbols and tokens, V^l >= 4; eps; deltas, at most .3.
GRID = {
    "smoke": (((2, 2), (4, 4), (4, 8)), ("0.1",), (0.3, 0.05, 1e-3)),
    "standard": (((2, 2), (2, 8), (4, 4), (4, 8), (32, 3)), ("0.1", "0.05"), (0.3, 0.05, 1e-3)),
    "full": (((2, 2), (2, 8), (4, 4), (4, 8), (32, 3)), ("0.1", "0.05", "0.02"), (0.3, 0.05, 1e-3)),
}
SAMPLED = {"smoke": ((2, 2), (4, 3)), "standard": ((2, 2), (4, 3), (4, 4)), "full": ((4, 4),)}
DELTA = 0.05


def sequence_experiment(
    run: Run,
    *,
    size: Size = abstract_sequence_size,
    failure: Callable[..., float] = hash_bit_failure,
) -> Outcome:
    """C2.sequence: does a constant times (l ln V/eps^2) ln(1/delta) suffice over l tokens?"""
    return refute(run, "C2.sequence", size, fixed=1, failure=failure)


def few_masses(outputs: int) -> dict[str, dict[Fraction, int]]:
    """Laws on k outputs, as mass -> outputs of that mass."""
    k, half = outputs, Fraction(1, 2)
    return {
        "uniform": {Fraction(1, k): k},
        "two halves": {half: 2, Fraction(0): k - 2},
        "half and tail": {half: 1, half / (k - 1): k - 1},
    }


def sup_experiment(
    run: Run, *, size: Size = abstract_sequence_size, better: Size | None = None
) -> Outcome:
    """C2.sup: does the abstract's size keep sup_y |Phat(y) - P(y)| <= eps, w.p. 1 - delta?

    Exactly on laws of few masses, by sampling on others; loose if a smaller proved size does too.
    """
    smaller = better or _best_sup_size

    def failures(V: int, length: int, n: int, eps: str) -> float:
        k = V**length
        return max(
            sup_norm_failure_probability(outputs=k, n=n, eps=eps, law=law)
            for law in few_masses(k).values()
        )

    cells = [
        TailCell(
            id=f"V={V}/l={length}/{law}/n={n}",
            trial=largest_deviation,
            args=(np.int32(n), weights),
            eps=int(weights.sum()) * n * Fraction("0.1"),
            delta=DELTA,
        )
        for V, length in SAMPLED[run.profile]
        for n in (size(vocab=V, length=length, eps="0.1", delta=DELTA),)
        for law, weights in _ragged(V**length).items()
    ]
    return _judge(run, "C2.sup", size, smaller, failures, cells)


def events_experiment(
    run: Run, *, size: Size = abstract_sequence_size, better: Size | None = None
) -> Outcome:
    """C2.events: does the abstract's size fix the chances of any V^l events within eps at once?

    Exactly for independent events of probability 1/2, by sampling for random sets of outputs.
    """
    smaller = better or _best_events_size

    def failures(V: int, length: int, n: int, eps: str) -> float:
        return independent_events_failure(events=V**length, n=n, eps=eps)

    cells = []
    for V, length in SAMPLED[run.profile]:
        n = size(vocab=V, length=length, eps="0.1", delta=DELTA)
        k = V**length
        sets = Fixed.EVENTS.stream(k).integers(0, 2, (k, k)).astype(np.int32)
        for law, weights in _ragged(k).items():
            cells.append(
                TailCell(
                    id=f"V={V}/l={length}/{law}/n={n}",
                    trial=largest_event_deviation,
                    args=(np.int32(n), weights, sets),
                    eps=int(weights.sum()) * n * Fraction("0.1"),
                    delta=DELTA,
                )
            )
    return _judge(run, "C2.events", size, smaller, failures, cells)


def _best_sup_size(*, vocab: int, length: int, eps: str, delta: float) -> int:
    sup = min(sup_norm_size(eps=eps, delta=delta), dkw_size(eps=eps, delta=delta))
    return min(sup, events_size(events=vocab**length, eps=eps, delta=delta))


def _best_events_size(*, vocab: int, length: int, eps: str, delta: float) -> int:
    return events_size(events=vocab**length, eps=eps, delta=delta)


def _ragged(outputs: int) -> dict[str, np.ndarray]:
    """Integer weights [k] of laws of many masses."""
    rng = Fixed.RAGGED_LAWS.stream(outputs)
    return {
        "zipf": np.ceil(420 / np.arange(1, outputs + 1)).astype(np.int32),
        "dirichlet(1)": np.ceil(4000 * rng.dirichlet(np.ones(outputs))).astype(np.int32),
    }


def largest_deviation(key: jax.Array, n: jax.Array, weights: jax.Array) -> jax.Array:
    """Replicate: max over outputs of Q n |Phat - P|, an exact integer.

    Args:
      key: consumed.
      n: samples.
      weights: int32 [k], the law's numerators over their sum Q; Q n below 2^31.
    """
    total = jnp.sum(weights)
    counts = multinomial_counts(key, n, weights / total.astype(jnp.float32))
    return jnp.max(jnp.abs(total * counts - n * weights))


def largest_event_deviation(
    key: jax.Array, n: jax.Array, weights: jax.Array, sets: jax.Array
) -> jax.Array:
    """Replicate: max over the events, rows of sets int32 [K, k], of Q n |Phat(A) - P(A)|."""
    total = jnp.sum(weights)
    counts = multinomial_counts(key, n, weights / total.astype(jnp.float32))
    return jnp.max(jnp.abs(jnp.dot(sets, total * counts - n * weights)))


def _judge(
    run: Run,
    name: str,
    size: Size,
    smaller: Size,
    failures: Callable[[int, int, int, str], float],
    cells: list[TailCell],
) -> Outcome:
    """Exact rows and sampled cells of a bound that is true and not the best."""
    shapes, epsilons, deltas = GRID[run.profile]
    rows: list[dict[str, Any]] = []
    for V, length in shapes:
        for eps in epsilons:
            for delta in deltas:
                given: dict[str, Any] = {"vocab": V, "length": length, "eps": eps, "delta": delta}
                n, better = size(**given), smaller(**given)
                failure = {"failure": failures(V, length, n, eps)}
                failure["better_failure"] = failures(V, length, better, eps)
                rows.append(given | {"size": n, "better": better} | failure)
                run.progress(name, len(rows), len(shapes) * len(epsilons) * len(deltas))
    sampled: list[CellVerdict] = run.sweep(name, cells, replicates=REPLICATES[run.profile])
    broken = [row for row in rows if row["failure"] > row["delta"]]
    loose = all(r["better"] < r["size"] and r["better_failure"] <= r["delta"] for r in rows)
    ratios = sorted(row["size"] / row["better"] for row in rows)
    return upheld(
        sampled,
        broken=broken,
        loose=loose,
        why=(
            f"{len(rows) - len(broken)} of {len(rows)} exact cells keep delta, at most "
            f"{max(row['failure'] / row['delta'] for row in rows):.2g} of it; {tell(sampled)}; the "
            f"size is {ratios[0]:.2f} to {ratios[-1]:.1f} times the best proved one"
        ),
        figures={"exact": rows, "sampled": [asdict(cell) for cell in sampled]},
    )


READING = "The size is the abstract's, constant 1; it does not say in which distance. "

CLAIM = Claim(
    id="C2",
    title="text generation with bounded context",
    abstract=ABSTRACT,
    statements=(
        Statement(
            id="C2.sequence",
            statement="A constant times (l ln V/eps^2) ln(1/delta) samples give total variation "
            "<= eps over all l tokens with probability 1 - delta, at fixed l for every V, or at "
            "fixed V for every l.",
            reading=READING + "Here total variation between laws on V^l outputs, one context; l is "
            "fixed in its words, so V grows first (l = 1, the setting of C1.token), then l.",
            premises="n independent outputs of l tokens from the fine-tuned law; any estimator.",
            formula="n = C (l ln V/eps^2) ln(1/delta), C in {1, 2, 4, 8}.",
            lower="P(TV > eps) >= ((1 - 2/k)^n/2 - eps)/(1 - eps), k = V^l: at least "
            "(3/8 - eps)/(1 - eps) while n <= k/8.",
            basis="PROOF, EXACT",
            derived=FALSE,
            corrected="Without structure the order is (V^l + ln(1/delta))/eps^2. With l the length "
            "of a prompt, the sum 2 (l ln V + ln(1/delta))/eps^2 holds: C2.elicitation.",
            sources="docs/c2.md; icl_sim/bounds/hash_bit.py",
            experiment=sequence_experiment,
        ),
        Statement(
            id="C2.elicitation",
            statement="If the fine-tuned model is the base under some prompt of l tokens, the "
            "likeliest of the V^l prompts is within eps after 2 (l ln V + ln(1/delta))/eps^2 "
            "samples, with probability 1 - delta; if it is only tau away, minimum distance is "
            "within 3 tau + eps after 2 (2 l ln V + ln(1/delta))/eps^2.",
            reading="Ours, in place of C2.sequence: l is the prompt's length, the outputs are as "
            "long as they like, and the two logarithms add.",
            premises="K = V^l prompts of one frozen model; n independent pairs of input and whole "
            "output; total variation between joint laws.",
            formula="n = 2 (ln K + ln(1/delta))/eps^2; n = 2 (ln K(K-1) + ln(1/delta))/eps^2.",
            lower="((1 - delta) ln K - ln 2)/(eps ln((1 + 2 eps)/(1 - 2 eps))) for every rule that "
            "answers with a prompt (Fano).",
            basis="PROOF, TEST",
            derived=HOLDS,
            sources="Yatracos 1985; Devroye and Lugosi 2001; docs/c2.md",
            experiment=elicitation_experiment,
        ),
        Statement(
            id="C2.sup",
            statement="(l ln V/eps^2) ln(1/delta) samples bring the chance of every output within "
            "eps at once, with probability 1 - delta.",
            reading=READING + "Here the largest error over outputs, which total variation can "
            "exceed V^l/2 times.",
            premises="V^l >= 4 and delta <= .3; the empirical law answers.",
            formula="n = (l ln V/eps^2) ln(1/delta).",
            lower="Two outputs of chance 1/2 need the size of two coins (C1.token).",
            basis="PROOF, EXACT, TEST",
            derived=LOOSE,
            corrected="min{ (1 + sqrt(ln(1/delta)/2))^2, (l ln V + ln(2/delta))/2 }/eps^2: no "
            "l log V is needed.",
            sources="Massart 1990; McDiarmid 1989; Hoeffding 1963; docs/c2.md",
            experiment=sup_experiment,
        ),
        Statement(
            id="C2.events",
            statement="(l ln V/eps^2) ln(1/delta) samples fix the chances of any V^l events, or "
            "the means of V^l losses in [0, 1], within eps at once, with probability 1 - delta.",
            reading=READING + "Here V^l given events, such as whether each of V^l prompts errs.",
            premises="V^l >= 4 and delta <= .3; relative frequencies answer.",
            formula="n = (l ln V/eps^2) ln(1/delta).",
            lower="Independent events of chance 1/2 fail with probability 1 - (1 - f)^K, f the "
            "binomial tail: exact in the table.",
            basis="PROOF, EXACT, TEST",
            derived=LOOSE,
            corrected="(l ln V + ln(2/delta))/(2 eps^2): a sum.",
            sources="Hoeffding 1963; docs/c2.md",
            experiment=events_experiment,
        ),
        many_at_once.CONTEXTS_STATEMENT,
    ),
)
