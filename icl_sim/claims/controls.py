"""Base transformers that no prompt brings to a target: the negative controls of claim C0.

Forward passes are those of `constructions.reference`, in float64, over all prompts of a length.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import nnls

from constructions.reference import forward
from constructions.spec import Layer, Params, TransformerSpec, param_shapes

ATTENTION = Layer(heads=1, key_size=4, value_size=4)


@dataclass(frozen=True)
class Control:
    """What a negative control found.

    Attributes:
      stands: whether the family fails as it is proved to.
      why: its figures in a few words.
      rows: a table for the report.
    """

    stands: bool
    why: str
    rows: tuple[dict[str, Any], ...]


def random_params(spec: TransformerSpec, rng: np.random.Generator) -> Params:
    """Standard normal weights, float32."""
    return {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in param_shapes(spec).items()
    }


def constant_law(
    rng: np.random.Generator, *, readout: float = 0.0, vocab: int = 4, longest: int = 4
) -> Control:
    """Output layer zero: the law is uniform after every prompt, 1 - 1/V from any deterministic one.

    Args:
      rng: draws the other weights.
      readout: multiplies the output layer.
      vocab: V, also the prompts' tokens.
      longest: the most tokens of a prompt.
    """
    layer = Layer(heads=2, key_size=4, value_size=4, hidden=8, gate="silu")
    spec = TransformerSpec(vocab, 8, vocab, (layer, layer), positions=("bits3",), norm="rms")
    params = random_params(spec, rng)
    params["w_out"] *= np.float32(readout)
    prompts = list(prompts_of(vocab, 1, longest))
    most = np.max([_softmax(forward(spec, params, p)[-1]) for p in prompts], axis=0)
    rows = tuple(
        {"target": y, "prompts": len(prompts), "least_tv": 1 - float(p), "bound": 1 - 1 / vocab}
        for y, p in enumerate(most)
    )
    least = min(row["least_tv"] for row in rows)
    return Control(
        # A deterministic target is missed by 1 - p(y); softmax rounds 1/V once, or twice.
        stands=bool(least >= 1 - 1 / vocab - 4 * np.finfo(np.float64).eps),
        why=f"after all {len(prompts)} prompts the law is {least:.3g} or more from every "
        "deterministic target",
        rows=rows,
    )


def convex_hull(
    rng: np.random.Generator,
    *,
    layers: tuple[Layer, ...] = (ATTENTION,),
    tokens: int = 4,
    vocab: int = 32,
    longest: int = 4,
) -> Control:
    """One attention head: a prefix only mixes the logits at hand with those of its own values.

    With weights a_j >= 0 on the prefix and the rest on what was there before,
    head = (1 - sum a_j) head_0 + sum a_j v_j, so the logits lie in the convex hull of the logits
    without a prefix and of those that each prefix token alone would give. A gap between two logits
    is linear, hence greatest at a corner, which bounds what prefixes of any length can do.

    Args:
      rng: draws the weights.
      layers: the layers; one with one head is what the proof is about.
      tokens: I, of which prefixes are made.
      vocab: V; larger than the corners of a hull, so that to lie in it says something.
      longest: the most tokens of a prefix.
    """
    width = 8
    spec = TransformerSpec(tokens, width, vocab, layers)
    params = random_params(spec, rng)
    query = np.array([0])
    alone = forward(spec, params, query)[-1]
    x = params["embed"].astype(np.float64)
    w_v, w_o = (params[f"layer_0.{name}"][0].astype(np.float64) for name in ("w_v", "w_o"))
    corners = (x[query] + x @ w_v @ w_o) @ params["w_out"].astype(np.float64)

    # For each target its rival: the one it can get the least far ahead of.
    every = np.vstack([alone[None], corners])
    ahead = (every[:, :, None] - every[:, None, :]).max(axis=0)
    np.fill_diagonal(ahead, np.inf)
    rival = ahead.argmin(axis=1)
    bound = 1 / (1 + np.exp(ahead.min(axis=1)))
    residual, count = 0.0, 0
    best = np.zeros(vocab)
    for prefix in prompts_of(tokens, 1, longest):
        logits = forward(spec, params, np.concatenate([prefix, query]))[-1]
        hull = np.vstack([alone[None], corners[np.unique(prefix)]])
        residual = max(residual, _distance(hull, logits))
        best = np.maximum(best, _softmax(logits))
        count += 1
    rows = tuple(
        {
            "target": y,
            "rival": int(rival[y]),
            "least_tv_found": 1 - float(best[y]),
            "bound_at_any_length": float(bound[y]),
        }
        for y in range(vocab)
    )
    hardest = max(rows, key=lambda row: row["bound_at_any_length"])
    below = any(row["least_tv_found"] < row["bound_at_any_length"] - 1e-12 for row in rows)
    return Control(
        stands=residual <= 1e-10 and not below and hardest["bound_at_any_length"] > 0.5,
        why=f"the logits after all {count} prefixes lie in the hull within {residual:.1g}, so that "
        f"no prefix of any length comes nearer than {hardest['bound_at_any_length']:.3g} to output "
        f"{hardest['target']}",
        rows=rows,
    )


def prompts_of(tokens: int, shortest: int, longest: int) -> Iterator[np.ndarray]:
    """Every prompt of these lengths over that many tokens, int64 [length]."""
    for length in range(shortest, longest + 1):
        for prompt in itertools.product(range(tokens), repeat=length):
            yield np.array(prompt, np.int64)


def _softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max())
    return np.asarray(weights / weights.sum())


def _distance(points: np.ndarray, target: np.ndarray) -> float:
    """From a target [V] to the convex hull of points [n, V], relative to their size.

    Non-negative least squares, with a row that asks for weights of sum 1.
    """
    size = max(1.0, float(np.abs(points).max()))
    system = np.vstack([points.T / size, np.ones(len(points))])
    weights, _ = nnls(system, np.append(target / size, 1.0))
    return math.hypot(*(system @ weights - np.append(target / size, 1.0)))
