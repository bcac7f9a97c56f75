"""The demonstrations of every copy, and what one predictor says of each.

Programs are shared as far as bits allow: data sets of any size are the beginnings of longer ones,
and copies are filled up to a number that most comparisons have.

Letters: R copies, m contexts, V outputs, N demonstrations.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from functools import cache, lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from icl_sim.comparison import answer_strings
from icl_sim.comparison.answer_strings import AnswerStrings, Decoded
from icl_sim.comparison.entry import checked_laws
from icl_sim.data.tasks import Demonstrations, sample_demonstrations
from icl_sim.execution.memory_guard import require, sharing, traced_bytes
from icl_sim.execution.trials import device_mesh, iter_blocks, run_blocks
from icl_sim.predictors import Predictor, get_predictor
from icl_sim.predictors.self_reading import SelfReading

BLOCK = 6  # copies in one vmapped block; part of the result's last bits, so never tuned per call
COPIES = 16  # R is filled up to a multiple of it
LONGEST = 2048  # and N, of the data sets that are drawn

Progress = Callable[[int, int], None]


def draw(laws: np.ndarray, size: int, key: jax.Array) -> Demonstrations:
    """N = ``size`` demonstrations of every copy: arrays with a leading axis of copies.

    Each random number depends on its place alone, so the first N of more are those of N.
    """

    def beginning(data: Demonstrations) -> Demonstrations:
        return data._replace(
            contexts=data.contexts[:, :size].copy(), outputs=data.outputs[:, :size].copy()
        )

    return run_blocks(
        _sampler(-(-size // LONGEST) * LONGEST),
        key=stream(key, "data", size),
        trials=len(laws),
        args=(_filled(laws), np.int32(size)),
        indexed=True,
        block=BLOCK,
        keep=beginning,
    )


def answers_of(
    name: str,
    data: Callable[[], Demonstrations],
    key: jax.Array,
    progress: Progress,
    strings: AnswerStrings | None = None,
    *,
    permute: bool = False,
) -> tuple[Callable[[], list[Any]], Callable[[], list[Any]] | None]:
    """Functions that ask a predictor on every copy: for its laws, and for what it decodes.

    Args:
      name: of the predictor.
      data: () -> the data of every copy.
      key: root of all randomness.
      progress: called as progress(done, total).
      strings: what is decoded is compared with.
      permute: the same demonstrations in another order.

    Returns:
      () -> nested lists [R, m, V]; and () -> those of `AnswerStrings.distances`, None without
      strings, or if it does not read its own answers.
    """
    predictor = get_predictor(name)
    decodes = strings is not None and isinstance(predictor.function, SelfReading)
    if "both" in _programs(predictor, decodes):
        both = cache(partial(_ask, name, data, key, progress, "both", strings))
        return lambda: both()[0], lambda: both()[1]
    laws = partial(_laws, name, data, key, progress, permute=permute)
    return laws, (
        lambda: _ask(name, data, key, progress, "decoded", strings)[1]
    ) if decodes else None


def require_room(name: str, size: int, m: int, V: int) -> None:
    """Raises what the predictor raises at this size, before anything is computed.

    Or InputError if a block of copies, on each device of a CPU, is more than memory lasts for.
    """
    predictor = get_predictor(name)
    if predictor.host:
        return
    decodes = m == V and isinstance(predictor.function, SelfReading)
    drawn = _one_copy(*answer_strings.drawn_shape(m)) if decodes else None
    trials = [_answer(name, predictor, what) for what in _programs(predictor, decodes)]

    def cost(demonstrations: int) -> int:
        order = None if predictor.counts_only else _one_copy(demonstrations)
        data = Demonstrations(order, order, _one_copy(m, V))
        asked = jax.random.key(0), jnp.uint32(0), data, drawn
        return sharing(device_mesh()) * BLOCK * max(traced_bytes(t, *asked) for t in trials)

    require(f"predictor {name}", cost, demonstrations=size)


def _programs(predictor: Predictor, decodes: bool) -> tuple[str, ...]:
    """What is computed together.

    What was trained is not trained again; what reads the data shares the program of its laws with
    the call on permuted data.
    """
    if not decodes:
        return ("laws",)
    return ("both",) if predictor.counts_only else ("laws", "decoded")


def stream(key: jax.Array, name: str, size: int) -> jax.Array:
    """A key of its own for each purpose and size, whatever else is computed."""
    return jax.random.fold_in(jax.random.fold_in(key, zlib.crc32(name.encode())), size)


def _laws(
    name: str,
    drawn: Callable[[], Demonstrations],
    key: jax.Array,
    progress: Progress,
    *,
    permute: bool = False,
) -> list[Any]:
    """One predictor's laws on every copy, nested lists [R, m, V]."""
    data = drawn()
    if permute:
        order = np.random.default_rng(0).permutation(data.contexts.shape[1])
        data = Demonstrations(data.contexts[:, order], data.outputs[:, order], data.counts)
    if get_predictor(name).host:
        return _on_host(name, data, stream(key, name, data.contexts.shape[1]), progress)
    return _ask(name, lambda: data, key, progress, "laws")[0]


def _ask(
    name: str,
    data_of: Callable[[], Demonstrations],
    key: jax.Array,
    progress: Progress,
    what: str,
    strings: AnswerStrings | None = None,
) -> tuple[list[Any], list[Any]]:
    """Laws, and `AnswerStrings.distances` of what is decoded; ``what``: laws, decoded or both."""
    predictor, data = get_predictor(name), data_of()
    copies, size = data.contexts.shape
    shown = Demonstrations(None, None, data.counts) if predictor.counts_only else data
    drawn = None if strings is None else _filled(strings.drawn)
    laws, distances = [], []
    for batch in iter_blocks(
        _answer(name, predictor, what),
        key=stream(key, name, size),
        trials=copies,
        args=(jax.tree.map(_filled, shown), drawn),
        indexed=True,
        block=BLOCK,
    ):
        found, decoded = batch.values
        if found is not None:
            shape = (len(found), *data.counts.shape[1:])
            told = f"{size} demonstrations"
            laws.append(checked_laws(found, name=name, shown=told, shape=shape))
        if strings is not None:
            distances.append(strings.distances(decoded, batch.first))
        progress(batch.first + len(jax.tree.leaves(batch.values)[0]), copies)
    return (
        np.concatenate(laws).tolist() if laws else [],
        np.concatenate(distances, axis=1).tolist() if distances else [],
    )


def _on_host(name: str, data: Demonstrations, key: jax.Array, progress: Progress) -> list[Any]:
    """`_laws` of a predictor that takes one data set at a time."""
    predictor, copies, laws = get_predictor(name), len(data.contexts), []
    for i in range(copies):
        one = jax.tree.map(lambda leaf, i=i: leaf[i], data)
        law = predictor(one, jax.random.fold_in(key, i))
        shown = f"{data.contexts.shape[1]} demonstrations"
        law = checked_laws(law, name=name, shown=shown, shape=one.counts.shape)
        laws.append(law.tolist())
        progress(i + 1, copies)
    return laws


@lru_cache(maxsize=64)
def _sampler(room: int) -> Callable[..., Demonstrations]:
    # One function object for each size, so that its code is compiled once.
    def trial(key: jax.Array, index: jax.Array, laws: jax.Array, size: jax.Array) -> Demonstrations:
        data = sample_demonstrations(key, laws[index], total=room)
        shown = (jnp.arange(room, dtype=jnp.int32) < size).astype(jnp.int32)
        counts = jnp.zeros_like(data.counts).at[data.contexts, data.outputs].add(shown)
        return data._replace(counts=counts)

    return trial


@lru_cache(maxsize=64)
def _answer(name: str, predictor: Predictor, what: str) -> Callable[..., Any]:
    def trial(
        key: jax.Array, index: jax.Array, data: Demonstrations, drawn: jax.Array | None
    ) -> tuple[jax.Array | None, Decoded | None]:
        data = jax.tree.map(lambda leaf: leaf[index], data)
        if what == "laws" or drawn is None or not isinstance(predictor.function, SelfReading):
            return predictor(data, key), None
        prompt = predictor.function.prompt(data, key)
        decoded = answer_strings.decode(prompt, drawn[index])
        return prompt.laws if what == "both" else None, decoded

    return trial


def _filled(rows: np.ndarray) -> jax.Array:
    """The array with its last row repeated, up to a multiple of COPIES rows."""
    missing = -len(rows) % COPIES
    return jnp.asarray(np.pad(rows, [(0, missing), *[(0, 0)] * (rows.ndim - 1)], mode="edge"))


def _one_copy(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((1, *shape), jnp.int32)
