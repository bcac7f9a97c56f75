"""C0.prompt-length: how long a prompt must be to reach every map. Proof: docs/c0.md."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from constructions.reference import forward
from constructions.spec import Layer, Params, TransformerSpec, blank
from icl_sim.bounds.prompts import prompt_length_necessary
from icl_sim.claims.claim import FALSE, HOLDS, Outcome, Run, Statement
from icl_sim.claims.controls import prompts_of, random_params

# Contexts, and outputs that one prompt token tells of, r: V = 2 and A = 2^r.
CASES = {
    "smoke": ((1, 1), (3, 1), (5, 1), (4, 2), (6, 2)),
    "standard": ((1, 1), (3, 1), (6, 1), (4, 2), (6, 2), (6, 3)),
    "full": ((1, 1), (3, 1), (6, 1), (8, 1), (4, 2), (8, 2), (6, 3), (9, 3)),
}
MODELS = 2  # of random weights, beside the table
REAL = ((10, 2, 2), (1000, 2, 27_876), (1000, 49_152, 49_152), (10_000, 32, 131_072))

Model = tuple[TransformerSpec, Params]


def prompt_length_experiment(
    run: Run,
    *,
    necessary: Callable[..., int] = prompt_length_necessary,
    model: Callable[[int, int], Model] | None = None,
) -> Outcome:
    """C0.prompt-length: do shorter prompts miss a map of every base, and do m ln V/ln A do?

    By enumeration at V = 2, A = 2^r: every prompt that is too short is given to random models and
    to a hand-written table; prompts of m/r tokens, to the table, which must reach all maps.
    """
    build = table if model is None else model
    rows: list[dict[str, Any]] = []
    for m, r in CASES[run.profile]:
        A = 2**r
        least = necessary(contexts=m, vocab=2, alphabet=A)
        spec = TransformerSpec(
            A + m,
            16,
            2,
            (Layer(heads=2, key_size=4, value_size=4, hidden=16, gate="relu"),) * 2,
            positions=("index",),
        )
        rng = run.stream("models", m, r)
        models = [(spec, random_params(spec, rng)) for _ in range(MODELS)]
        short = list(prompts_of(A, 0, least - 1))
        enough = list(prompts_of(A, math.ceil(m / r), math.ceil(m / r)))
        rows.append(
            {
                "contexts": m,
                "alphabet": A,
                "maps": 2**m,
                "necessary": least,
                "shorter_prompts": len(short),
                "reached_by_random_models": max(_reached(x, short, m, A) for x in models),
                "reached_by_table": _reached(build(m, r), short, m, A),
                "table_tokens": math.ceil(m / r),
                "reached_with_enough": _reached(build(m, r), enough, m, A),
            }
        )
        run.progress("C0.prompt-length", len(rows), len(CASES[run.profile]))
    few = ("reached_by_random_models", "reached_by_table")
    missed = all(row[name] < row["maps"] for row in rows for name in few)
    attained = all(row["reached_with_enough"] == row["maps"] for row in rows)
    sharp = all(row["table_tokens"] - row["necessary"] <= 1 for row in rows)
    last = rows[-1]
    return Outcome(
        verdict=HOLDS if missed and attained and sharp else FALSE,
        why=(
            f"m = {last['contexts']} contexts, A = {last['alphabet']}: prompts of fewer than "
            f"{last['necessary']} tokens reach at most {max(last[name] for name in few)} of the "
            f"{last['maps']} maps, and {last['table_tokens']} tokens reach "
            f"{last['reached_with_enough']}; {len(rows)} cases, all maps and prompts enumerated"
        ),
        figures={
            "enumerated": rows,
            "lengths": [
                {
                    "contexts": m,
                    "vocab": V,
                    "alphabet": A,
                    "necessary": prompt_length_necessary(contexts=m, vocab=V, alphabet=A),
                    "m ln V / ln A": m * math.log(V) / math.log(A),
                }
                for m, V, A in REAL
            ],
        },
    )


def table(contexts: int, each: int) -> Model:
    """A transformer whose prompt token p tells the outputs of contexts r p to r p + r - 1.

    Token a < A = 2^r holds the r bits of a, token A + c is context c. Head j answers for the
    contexts with c mod r = j: the score of the token at p is 2 q p - p^2 = q^2 - (p - q)^2 with
    q = c // r, best at p = q. For all other contexts the score of a context token, which has no
    value, is 1 and every other 0, so that the head adds nothing. After a prompt that is too short
    the query itself is nearest, and has no value: output 0.
    """
    m, r = contexts, each
    kinds = 2**r
    bit = np.arange(2 * r).reshape(r, 2)  # [j, y]: token says y of its j-th context
    index, square, context = range(2 * r, 2 * r + 3)
    twice, minus, other = np.arange(2 * r + 3, 5 * r + 3).reshape(3, r)  # a column a head
    answer = np.array([5 * r + 3, 5 * r + 4])
    layer = Layer(heads=r, key_size=3, value_size=2, attend="hardmax")
    width = 5 * r + 5
    spec = TransformerSpec(kinds + m, width, 2, (layer,), positions=("index", "square"))
    params = blank(spec)
    for a in range(kinds):
        params["embed"][a, [bit[j, a >> j & 1] for j in range(r)]] = 1
    for c in range(m):
        asked = params["embed"][kinds + c]
        asked[context] = 1
        asked[other] = 1
        asked[other[c % r]] = 0
        asked[twice[c % r]] = 2 * (c // r)
        asked[minus[c % r]] = -1
    params["positions"][[0, 1], [index, square]] = 1
    for j in range(r):
        params["layer_0.w_q"][j][[twice[j], minus[j], other[j]], [0, 1, 2]] = 1
        params["layer_0.w_k"][j][[index, square, context], [0, 1, 2]] = 1
        params["layer_0.w_v"][j][bit[j], [0, 1]] = 1
        params["layer_0.w_o"][j][[0, 1], answer] = 1
    params["w_out"][answer, [0, 1]] = 1
    return spec, params


def _reached(model: Model, prompts: list[np.ndarray], contexts: int, alphabet: int) -> int:
    """How many maps from contexts to outputs of largest logit these prompts give."""
    maps = set()
    for prompt in prompts:
        logits = [forward(*model, np.append(prompt, alphabet + c))[-1] for c in range(contexts)]
        maps.add(tuple(int(row.argmax()) for row in logits))
    return len(maps)


STATEMENT = Statement(
    id="C0.prompt-length",
    statement="Prompts of about m ln V/ln A tokens are needed to reach all maps from m contexts to "
    "V outputs, A the kinds of token in a prompt, and for some base they suffice.",
    reading="The abstract names no length of a prompt. Ours: the least length at which one base "
    "transformer can be brought to every deterministic map by its prompt alone.",
    premises="Any base and any prompts over A kinds of token; the target is one of V^m maps. "
    "Attained where A is a power of V, up to rounding.",
    formula="the least L with (A^(L+1) - 1)/(A - 1) >= V^m; m/r tokens suffice at A = V^r.",
    lower="the same L, by counting.",
    basis="PROOF, EXACT",
    derived=HOLDS,
    sources="docs/c0.md; counting",
    experiment=prompt_length_experiment,
)
