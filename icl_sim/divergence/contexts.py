"""Two models over more contexts than memory holds: blocks on all devices, recorded, resumable."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax
import numpy as np

from icl_sim.divergence.hidden import total_variation_from_hidden
from icl_sim.errors import InputError
from icl_sim.execution.progress import Progress, quiet
from icl_sim.execution.signatures import checked
from icl_sim.execution.trials import iter_blocks
from icl_sim.storage.result_store import ResultStore

BLOCK = 1024  # contexts
CHUNK = 64  # blocks in a record

# (keys [B], *args) -> hidden states of both models, [B, D] and [B, D']
Pair = Callable[..., tuple[jax.Array, jax.Array]]
# hidden states and unembeddings of both models -> [B]
Distance = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]


@checked
def distances_over(
    name: str,
    pair: Pair,
    w_a: Any,
    w_b: Any,
    *,
    contexts: int,
    key: jax.Array,
    args: tuple[Any, ...] = (),
    distance: Distance = total_variation_from_hidden,
    store: ResultStore,
    progress: Progress = quiet,
) -> np.ndarray:
    """The distance of two models in each of many contexts, drawn at random as they are needed.

    Neither contexts, hidden states nor logits are held beyond a block of 1,024 contexts a device.
    The result does not depend on the number of devices and processes, nor on interruptions.

    Args:
      name: leads the keys of the records, and tells ``pair`` from others; they also tell apart
        distances, keys, unembeddings and args.
      pair: pair(keys, *args) -> hidden states of both models in the contexts drawn from the typed
        keys [1024]; jittable. Pass the same function again to reuse its compiled code.
      w_a, w_b: unembeddings, float [D, V] and [D', V].
      contexts: m.
      key: root key; not consumed. Block i draws from split(fold_in(key, i), 1024).
      args: pytrees of arrays, traced: the models' weights, say.
      distance: one of the distances from hidden states.
      store: every 65,536 distances are a record.
      progress: called as progress(label, contexts done, contexts).

    Returns:
      [m], of the dtype of the distance.

    Raises:
      InputError: fewer than one context, or shapes that do not fit.
      FloatingPointError: a distance is NaN.

    >>> import jax.numpy as jnp
    >>> from icl_sim.storage.result_store import MemoryStore
    >>> def pair(keys):
    ...     x = jax.vmap(lambda k: jax.random.normal(k, (3,)))(keys)
    ...     return x, 2 * x
    >>> w, options = jnp.eye(3), {"key": jax.random.key(0), "store": MemoryStore()}
    >>> found = distances_over("demo", pair, w, w, contexts=2000, **options)
    >>> found.shape, bool((found < 0.5).all())
    ((2000,), True)
    """
    if contexts < 1:
        raise InputError(f"{name}: expected at least one context, got {contexts}")
    blocks = -(-contexts // BLOCK)
    trial = _trial(pair, distance)
    root = f"{name}/{distance.__name__}/{_sha256(jax.random.key_data(key), w_a, w_b, args)}"
    parts = []
    for first in range(0, blocks, CHUNK):
        last = min(first + CHUNK, blocks)

        def run(first: int = first, last: int = last) -> dict[str, str]:
            found = []
            for batch in iter_blocks(
                trial, key=key, trials=last - first, first=first, args=(w_a, w_b, *args), block=1
            ):
                found.append(batch.values.ravel())
                done = min((batch.first + len(batch.values)) * BLOCK, contexts)
                progress(name, done, contexts)
            distances = np.concatenate(found)[: contexts - first * BLOCK]
            if np.isnan(distances).any():
                place = first * BLOCK + int(np.isnan(distances).argmax())
                raise FloatingPointError(f"{name}: the distance in context {place} is NaN")
            return {
                "dtype": distances.dtype.name,
                "distances": base64.b64encode(distances.tobytes()).decode(),
            }

        record = store.result(f"{root}/{first * BLOCK}-{min(last * BLOCK, contexts)}", run)
        parts.append(np.frombuffer(base64.b64decode(record["distances"]), record["dtype"]))
        progress(name, min(last * BLOCK, contexts), contexts)
    return np.concatenate(parts)


def _sha256(*trees: Any) -> str:
    """The first digits of a digest of all leaves."""
    sums = hashlib.sha256()
    for leaf in map(np.asarray, jax.tree.leaves(trees)):
        sums.update(f"{leaf.dtype}{leaf.shape}".encode() + leaf.tobytes())
    return sums.hexdigest()[:16]


@lru_cache(maxsize=64)
def _trial(pair: Pair, distance: Distance) -> Callable[..., jax.Array]:
    # One function object for each pair, so that its code is compiled once.
    def trial(key: jax.Array, w_a: jax.Array, w_b: jax.Array, *args: Any) -> jax.Array:
        x, y = pair(jax.random.split(key, BLOCK), *args)
        for states in (x, y):
            if np.shape(states)[:-1] != (BLOCK,):
                raise InputError(
                    f"pair: expected hidden states [{BLOCK}, D], a row for each key, got "
                    f"{list(np.shape(states))}"
                )
        return distance(x, w_a, y, w_b)

    return trial
