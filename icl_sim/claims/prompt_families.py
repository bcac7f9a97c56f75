"""A model's laws under each of K prompts, and rules that choose among the prompts from samples.

Letters: K prompts z of l_z tokens; X inputs x of one token, drawn uniformly; l output tokens of V
symbols; Q = X V^l pairs (x, y). A family is a table of joint laws P_z(x, y) = M(y | z, x)/X, each
computed by the model's ordinary forward pass on all K Q prompts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from constructions.construction import Construction
from constructions.learners.lookup import lookup
from constructions.spec import TransformerSpec
from icl_sim.bounds.elicitation import hadamard_signs
from icl_sim.data.sampling import multinomial_counts
from icl_sim.training.base_model import load_base
from icl_sim.training.pretraining_sequences import ALPHABET, CONTEXTS
from icl_sim.transformer import forward

CHUNK = 2**16  # tokens in one forward pass


@dataclass(frozen=True, eq=False)
class PromptFamily:
    """K joint laws of (input, whole output).

    Args:
      name: of the model and the sizes.
      laws: float64 [K, Q], rows summing to one.
      distance: float64 [K, K], total variation between them.
    """

    name: str
    laws: np.ndarray
    distance: np.ndarray


def family(name: str, laws: np.ndarray) -> PromptFamily:
    """The family of these laws."""
    distance = np.array([np.abs(laws - law).sum(axis=1) / 2 for law in laws])
    return PromptFamily(name, laws, distance)


def model_laws(
    spec: TransformerSpec,
    params: Any,
    prompts: np.ndarray,
    inputs: Sequence[int],
    *,
    outputs: int,
    start: Sequence[int] = (),
) -> np.ndarray:
    """Joint laws float64 [K, X V^l] of a model under each prompt.

    Args:
      spec, params: the model; its laws are over V symbols.
      prompts: int [K, l_z].
      inputs: X tokens.
      outputs: l.
      start: tokens before every prompt.
    """
    K, V = len(prompts), spec.output_size
    tails = np.array([[x, *y] for x in inputs for y in itertools.product(range(V), repeat=outputs)])
    shown = tails[::V, :-1]  # the last output is read off the last law
    width = len(start) + prompts.shape[1] + shown.shape[1]
    run = jax.jit(lambda tokens: forward(spec, params, tokens)[:, -outputs:])
    rows = []
    step = max(1, CHUNK // (width * len(shown)))
    for first in range(0, K, step):
        chosen = np.arange(first, first + step) % K  # one shape for all, so one compilation
        tokens = np.concatenate(
            [
                np.tile(np.array(start, np.int32), (step * len(shown), 1)),
                np.repeat(prompts[chosen], len(shown), axis=0),
                np.tile(shown, (step, 1)),
            ],
            axis=1,
        ).astype(np.int32)
        answers = np.asarray(run(tokens), np.float64)
        if spec.readout == "logits":
            answers = np.exp(answers - answers.max(axis=-1, keepdims=True))
        answers /= answers.sum(axis=-1, keepdims=True)
        given = tokens[:, tokens.shape[1] - outputs + 1 :]  # y_1 .. y_(l-1), at laws 0 .. l-2
        chance = np.ones(len(tokens)) / len(inputs)
        for t in range(outputs - 1):
            chance *= answers[np.arange(len(tokens)), t, given[:, t]]
        rows.append((chance[:, None] * answers[:, -1]).reshape(step, -1))
    return np.concatenate(rows)[:K]


def all_prompts(alphabet: Sequence[int], length: int) -> np.ndarray:
    """int32 [K, l_z]: every prompt of that length, K = len(alphabet)^l_z."""
    return np.array(list(itertools.product(alphabet, repeat=length)), np.int32)


@lru_cache(maxsize=8)
def lookup_family(
    *, vocab: int = 4, length: int = 4, outputs: int = 2, smoothing: float = 0.5
) -> PromptFamily:
    """The hand-written lookup, order 1, under all V^l_z prompts; inputs are its V symbols."""
    built: Construction = lookup(vocab=vocab, smoothing=smoothing, length=64)
    prompts = all_prompts(range(vocab), length)
    laws = model_laws(
        built.spec, built.params, prompts, range(vocab), outputs=outputs, start=(vocab,)
    )
    return family(f"lookup, V={vocab}, l_z={length}, l={outputs}, smoothing={smoothing:g}", laws)


@lru_cache(maxsize=2)
def base_family(*, pairs: bool = False) -> PromptFamily:
    """The pretrained base under all 256 prompts of two of its symbols, one output symbol.

    Inputs are its 8 context symbols.

    Args:
      pairs: only the 64 prompts that are one demonstration, a context and an output.
    """
    base = load_base()
    prompts = all_prompts(range(ALPHABET), 2)
    if pairs:
        prompts = prompts[(prompts[:, 0] < CONTEXTS) & (prompts[:, 1] >= CONTEXTS)]
    laws = model_laws(base.spec, base.params, prompts, range(CONTEXTS), outputs=1)
    return family(f"base, {'pairs' if pairs else 'l_z=2'}", laws)


def hadamard_family(prompts: int, eps: float) -> PromptFamily:
    """K laws that are all a little more than eps apart: the hardest family known.

    x uniform, y = +-1 of mean g c_z(x), g = 2.02 eps: any two are g/2 apart.
    """
    signs = hadamard_signs(prompts=prompts).astype(np.float64)
    each = np.stack([1 + 2.02 * eps * signs, 1 - 2.02 * eps * signs], axis=2) / 2
    return family(f"hadamard, K={prompts}", each.reshape(prompts, -1) / signs.shape[1])


def likeliest(laws: jax.Array, counts: jax.Array) -> jax.Array:
    """Index of the prompt of largest likelihood; the first of equals."""
    seen = (counts > 0)[None, :]
    scores = jnp.where(seen, counts[None, :] * jnp.log(jnp.where(laws > 0, laws, 1)), 0)
    impossible = jnp.any(seen & (laws <= 0), axis=1)
    return jnp.argmax(jnp.where(impossible, -jnp.inf, scores.sum(axis=1)))


def minimum_distance(laws: jax.Array, counts: jax.Array) -> jax.Array:
    """Index of the prompt whose masses on all Scheffe sets {P_i > P_j} are nearest the samples'.

    The least over z of max over sets A of |P_z(A) - Phat(A)|; Yatracos 1985.
    """
    K = laws.shape[0]
    i, j = np.triu_indices(K, 1)
    sets = (laws[i] > laws[j]).astype(laws.dtype)
    share = counts / counts.sum()
    gaps = jnp.abs(
        jnp.dot(laws, sets.T, precision="highest")
        - jnp.dot(sets, share, precision="highest")[None, :]
    )
    return jnp.argmin(gaps.max(axis=1))


RULES: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    "likeliest": likeliest,
    "minimum-distance": minimum_distance,
}


@lru_cache(maxsize=16)
def choice_trial(rule: str) -> Callable[..., jax.Array]:
    """Replicate (key, n, target [Q], laws [K, Q], distance [K]) -> TV(target, chosen law)."""

    def trial(
        key: jax.Array, n: jax.Array, target: jax.Array, laws: jax.Array, distance: jax.Array
    ) -> jax.Array:
        counts = multinomial_counts(key, n, target).astype(jnp.float32)
        return distance[RULES[rule](laws, counts)]

    return trial


def hardest(found: PromptFamily, *, n: int, eps: float) -> int:
    """The prompt that is most easily taken for one farther than eps away.

    The greatest sum of (sum sqrt(P Q))^n over those: the union bound that the theorem loosens.
    """
    roots = np.sqrt(found.laws)
    with np.errstate(divide="ignore"):
        overlap = n * np.log(roots @ roots.T)
    far = np.where(found.distance > eps, overlap, -math.inf)
    return int(np.logaddexp.reduce(far, axis=1).argmax())


def misleading(found: PromptFamily, *, weight: float) -> np.ndarray:
    """A target float64 [Q] near one prompt's law, for which the likeliest prompt is a bad one.

    (1 - w) P_z + w on one pair q, with the z and q for which the prompt of least divergence from
    the target, which likelihood ends at, is farthest beyond three times the least distance.
    """
    logs = np.log(np.maximum(found.laws, 1e-300))
    best, target = -math.inf, found.laws[0]
    for z, q in itertools.product(range(len(found.laws)), range(found.laws.shape[1])):
        mixed = (1 - weight) * found.laws[z]
        mixed[q] += weight
        distance = np.abs(found.laws - mixed).sum(axis=1) / 2
        excess = distance[(logs @ mixed).argmax()] - 3 * distance.min()
        if excess > best:
            best, target = excess, mixed
    return target
