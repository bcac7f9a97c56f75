"""Training: all copies at once against one after the other, and tokens a second with peers.

Copies: the shipped base fine-tuned on C tables, C copies at once, in blocks, against C calls of the
same compiled single run, and against the loop that one writes first: a compiled step, called from
Python for every step of every copy. Tokens: one step of AdamW on the base's own architecture, a
batch of 24 x 192 tokens, in this library and, if asked, in PyTorch (eager and compiled) with equal
weights, batch, loss and optimizer; the peers' first loss must be ours.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.measure import Row, measure, peer
from benchmarks.roofline import Work, against_roof, forward_work
from constructions.spec import TransformerSpec
from icl_sim.data.tasks import random_table, sample_demonstrations
from icl_sim.training import Examples, TrainConfig, fine_tune, fine_tune_copies
from icl_sim.training.base_model import LENGTH, RECIPE, SPEC, load_base, table_examples
from icl_sim.training.fine_tuning import advance, begin
from icl_sim.training.guarded import State
from icl_sim.training.pretraining import (
    BLOCKS,
    block_gradient,
    mean_update,
    sequence_loss,
    start,
)
from icl_sim.training.pretraining_sequences import Batch, pairs
from icl_sim.transformer import Params, Transformer

SEQUENCES = 24


def run(*, copies: int = 48, steps: int = 100, rounds: int = 7, peers: bool = False) -> list[Row]:
    """The rows of `roofline` with copies_per_s, or with tokens_per_s and loss.

    Args:
      copies, steps: fine-tuned copies, and the steps of each.
      rounds: of the token benchmark; the copies are timed three times.
      peers: also time PyTorch.

    The speedup is over a call for every step, or over this library.
    """
    return [*_copies(copies, steps), *_tokens(rounds, peers)]


def _copies(copies: int, steps: int) -> list[Row]:
    base, model = load_base(), Transformer(load_base().spec)
    config = TrainConfig(learning_rate=1e-3, steps=steps)
    keys = jax.random.split(jax.random.key(0), copies)
    laws = [jnp.asarray(random_table(i).law, jnp.float32) for i in range(copies)]
    counts = [
        sample_demonstrations(k, law, total=64).counts for k, law in zip(keys, laws, strict=True)
    ]
    each = [table_examples(c) for c in counts]
    stacked = Examples(*map(jnp.stack, zip(*each, strict=True)))

    def loop() -> Any:
        runs = zip(each, keys, strict=True)
        return [fine_tune(model, base.params, e, config=config, key=k) for e, k in runs]

    def together() -> Any:
        return fine_tune_copies(
            model, base.params, stacked, config=config, keys=keys, chunk=steps
        ).params

    def step_by_step() -> Any:
        ends = []
        for example, key in zip(each, keys, strict=True):
            state = begin(base.params, config, key)
            for i in range(steps):
                state = _tuning_step(config, base.params, example, key, state, jnp.int32(i))
            ends.append(state.leaves)
        return ends

    functions = {
        "a call for every step": step_by_step,
        "one copy after the other": loop,
        "all copies at once, in blocks": together,
    }
    rows = measure(functions, rounds=3, reference="a call for every step")
    for row in rows:
        row["copies_per_s"] = copies / row["median_s"]
    work = _work(base.params, *each[0].inputs.shape, steps=steps, runs=copies)
    rows = against_roof(rows, dict.fromkeys(functions, work))
    one, all_at_once = loop()[-1], together()
    for name, leaf in one.items():
        np.testing.assert_allclose(leaf, all_at_once[name][-1], rtol=1e-3, atol=1e-4)
    return rows


@partial(jax.jit, static_argnums=0)
def _tuning_step(
    config: TrainConfig, params: Any, examples: Examples, key: jax.Array, state: State, i: jax.Array
) -> State:
    return advance(load_base().spec, params, examples, config, key, state, i, 1)[0]


def _tokens(rounds: int, peers: bool) -> list[Row]:
    keys = jax.random.split(jax.random.key(0), SEQUENCES)
    tokens = jax.vmap(lambda key: pairs(key, LENGTH))(keys)
    weights = np.zeros((SEQUENCES, LENGTH - 1), np.float32)
    weights[:, ::2] = 1 / weights[:, ::2].shape[1]
    batch = Batch(tokens, jnp.asarray(weights))
    params = start(SPEC, 0)
    ours = _Ours(begin(params, RECIPE, jax.random.key(0)), batch)
    others = peer("torch", lambda: _torch_steps(SPEC, params, batch), asked=peers)
    steps = {"icl_sim": ours, **others}
    losses = {name: float(step.loss()) for name, step in steps.items() if not isinstance(step, str)}
    np.testing.assert_allclose([*losses.values()], losses["icl_sim"], rtol=1e-4)
    rows = measure(steps, rounds=rounds, reference="icl_sim")
    for row in rows:
        if row["name"] in losses:
            row["tokens_per_s"] = SEQUENCES * LENGTH / row["median_s"]
            row["loss"] = losses[row["name"]]
    return against_roof(rows, dict.fromkeys(losses, _work(params, SEQUENCES, LENGTH - 1)))


def _work(params: Any, sequences: int, tokens: int, *, steps: int = 1, runs: int = 1) -> Work:
    """Of Adam on a number of sequences a step: three times a forward pass's products.

    Each run's weights and two moments are read and written once at least.
    """
    forward = forward_work(SPEC, params, tokens, sequences=sequences)
    weights = sum(leaf.size for leaf in params.values())
    return Work(bytes=4 * 6 * weights * runs, flops=3 * forward.flops * steps * runs)


class _Ours:
    """A step of this library's pretraining, block after block, on a fixed batch."""

    def __init__(self, state: State, batch: Batch) -> None:
        self.state, self.batch = state, batch

    def loss(self) -> jax.Array:
        return sequence_loss(SPEC, self.state.leaves, self.batch)

    def __call__(self) -> None:
        rows = _gradients(self.state.leaves, self.batch)
        self.state, _ = jax.block_until_ready(mean_update(RECIPE, self.state, rows, jnp.int32(0)))


@jax.jit
def _gradients(leaves: Params, batch: Batch) -> jax.Array:
    blocks = jax.tree.map(lambda x: x.reshape(BLOCKS, -1, *x.shape[1:]), batch)
    return jax.lax.map(partial(block_gradient, SPEC, leaves), blocks)


def _torch_steps(spec: TransformerSpec, params: Any, batch: Batch) -> dict[str, Any]:
    import torch

    tokens = torch.from_numpy(np.array(batch.tokens, np.int64))
    weights = torch.from_numpy(np.array(batch.weights))
    T = tokens.shape[1] - 1
    t = torch.arange(T)
    distance = (t[:, None] - t[None, :]).clip(0, spec.layers[0].window - 1)
    hidden = t[None, :] > t[:, None]

    def norm(x: Any, gain: Any) -> Any:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + spec.epsilon) * gain

    def logits(leaves: dict[str, Any]) -> Any:
        x = leaves["embed"][tokens[:, :-1]]
        for i, layer in enumerate(spec.layers):
            w = {n.partition(".")[2]: leaf for n, leaf in leaves.items() if f"layer_{i}." in n}
            h = norm(x, w["norm_attention"])
            q, k, v = (torch.einsum("btd,hdk->bhtk", h, w[n]) for n in ("w_q", "w_k", "w_v"))
            bias = w["bias"][:, distance].masked_fill(hidden, float("-inf"))
            a = torch.nn.functional.scaled_dot_product_attention(
                q, k, v, attn_mask=bias, scale=layer.scale
            )
            x = x + torch.einsum("bhtu,hud->btd", a, w["w_o"])
            h = norm(x, w["norm_mlp"])
            gate = torch.nn.functional.silu(h @ w["w_gate"] + w["b_gate"])
            x = x + (gate * (h @ w["w_up"] + w["b_up"])) @ w["w_down"]
        return norm(x, leaves["norm_out"]) @ leaves["w_out"]

    class Step:
        def __init__(self, compiled: bool) -> None:
            self.leaves = {
                n: torch.from_numpy(np.array(p)).requires_grad_() for n, p in params.items()
            }
            self.optimizer = torch.optim.AdamW(
                self.leaves.values(),
                lr=RECIPE.learning_rate,
                betas=(0.9, RECIPE.beta2),
                weight_decay=0,
            )
            self.objective = torch.compile(self._objective) if compiled else self._objective

        def _objective(self, leaves: dict[str, Any]) -> Any:
            each = torch.nn.functional.cross_entropy(
                logits(leaves).flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
            )
            return (each.view_as(weights) * weights).sum() / SEQUENCES

        def loss(self) -> float:
            with torch.no_grad():
                return float(self._objective(self.leaves))

        def __call__(self) -> None:
            self.optimizer.zero_grad(set_to_none=True)
            self.objective(self.leaves).backward()
            torch.nn.utils.clip_grad_norm_(self.leaves.values(), RECIPE.clip or 0.0)
            self.optimizer.step()

    return {"torch eager": Step(False), "torch.compile": Step(True)}
