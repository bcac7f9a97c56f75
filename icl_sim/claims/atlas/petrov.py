"""Petrov et al. 2024: what a prefix cannot do to one layer of attention."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from icl_sim.claims.claim import HOLDS, OPEN, Claim, Outcome, Run, Statement
from icl_sim.claims.controls import Control, convex_hull

SEEDS = 5


def prefix_experiment(
    run: Run, *, control: Callable[[np.random.Generator], Control] = convex_hull
) -> Outcome:
    """Petrov.prefix: do all prefixes leave the logits in the hull, and some output out of reach?"""
    found = [control(run.stream("Petrov", seed)) for seed in range(SEEDS)]
    standing = sum(one.stands for one in found)
    return Outcome(
        verdict=HOLDS if standing == len(found) else OPEN,
        why=f"{standing} of {len(found)} random layers; the first: {found[0].why}",
        figures={"outputs": list(found[0].rows)},
    )


CLAIM = Claim(
    id="Petrov",
    title="when do prompting and prefix-tuning work?",
    abstract="Context-based fine-tuning methods cannot change the relative attention pattern over "
    "the content and can only bias the outputs of an attention layer in a fixed direction. "
    "(arXiv:2310.19698)",
    statements=(
        Statement(
            id="Petrov.prefix",
            statement="In one layer with one head, a prefix only mixes the output with its own "
            "values, so that some outputs stay out of reach of any prefix.",
            reading="Theorem 1 there, for prompts: the control of C0.arbitrary, over random "
            "layers. A second layer frees the model, as the test shows.",
            premises="One layer, one head, softmax, no position features; random weights.",
            formula="head = (1 - sum a_j) head_0 + sum a_j v_j, a_j >= 0; TV >= 1/(1 + e^g).",
            lower="The distances of the formula, for prefixes of any length.",
            basis="PROOF, EXACT",
            derived=HOLDS,
            sources="Petrov, Torr and Bibi 2024 (arXiv:2310.19698), theorem 1; docs/atlas.md",
            experiment=prefix_experiment,
        ),
    ),
)
