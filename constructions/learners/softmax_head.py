"""Supervised fine-tuning of a softmax head inside the forward pass, exactly.

The frozen features and the data stand in the prompt, and looping two layers runs SGD: momentum,
weight decay, schedules and mini-batches as in Optax. Adam is not emulated: its division by
sqrt(v) + eps has no exact form in these parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from constructions.blueprint import Blueprint
from constructions.certificate import Certificate, Record, by_length, check_dtype
from constructions.construction import Construction, assemble
from constructions.learners import descent
from constructions.learners.descent import LOGITS, MASK, HeadTask, Recipe, schedule_rates
from constructions.learners.descent_bound import law_distance, logit_errors
from constructions.learners.options import check_sizes
from constructions.learners.prompt import fill, parse
from constructions.spec import Params, TransformerSpec

SOURCE = (
    "gradient descent by linear attention: von Oswald et al. 2023 (arXiv:2212.07677); with the "
    "cross-entropy of a softmax head, exactly: this library"
)
PROOF = (
    "Every token carries its logits z_j W instead of W. Layer 0: class tokens with key = value = "
    "e_c make a softmax head return softmax(logits). Layer 1: linear attention adds "
    "sum_i <z_j, z_i> w_i (p_i - y_i), which is z_j times the gradient. Momentum, decay and rate "
    "act on each token alone. One loop is one step."
)


def softmax_head(
    *,
    classes: int = 4,
    features: int = 8,
    steps: int = 10,
    learning_rate: float | Sequence[float] = 0.5,
    schedule: str = "constant",
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    decoupled: bool = True,
    nesterov: bool = False,
    batches: int = 1,
    queries: int = 1,
    norm: float = 1.0,
    length: int = 512,
    mask: str = "prefix",
    temperature: float | None = None,
    jacobian: bool = False,
    dtype: str = "float32",
) -> Construction:
    """SGD on a softmax head over frozen features: the laws of the fine-tuned model at the queries.

    The problem is ``{"features": [n, d], "labels": [n], "queries": [m, d]}`` with labels below C,
    or laws [n, C], and optionally

    - ``"head"`` [d, C], where training starts (zero by default), or ``"logits"`` [n + m, C]: the
      base model's own, those of the examples first;
    - ``"weights"``, [n] or [B, n], of the examples (1/n each by default), or ``"batch"``, integers
      [n] below B: step t takes the mean over the examples of batch number t mod B.

    ``fill(features=[n, d], queries=[m, d], labels=[n, C], weights=[B, n], logits=[n + m, C])``
    takes laws for labels, and all of them; the last m outputs are the queries' logits.

    Args:
      classes, features: C and d.
      steps: of SGD; each is one loop of the two layers.
      learning_rate: a number, or one for each step (then ``schedule`` must stay ``constant``).
      schedule: ``constant``, ``cosine`` or ``linear``, to zero at step number ``steps``.
      momentum, weight_decay, decoupled, nesterov: see `descent.Recipe`.
      batches: B.
      queries: m.
      norm: the largest Euclidean norm of a feature vector to certify.
      length: the longest prompt, in tokens, to certify.
      mask: ``prefix``: all tokens see each other. ``causal``: the prompt repeats the data once a
        step, and step t reads copy number t, which all later tokens see whole.
      temperature: None for a linear head; a number eps for softmax heads only, with an error of
        order eps^2 + 2^-24 / eps.
      jacobian: features and queries are [n, C, d] and [m, C, d], the Jacobians of a model in d
        parameters, and the run is the full fine-tuning of the linearized model: logit c of a token
        is ``logits`` plus J_c (theta - theta_0).
      dtype: of the arithmetic to certify for; the weights are float32.

    Returns:
      A construction whose answer is laws [m, C].

    Raises:
      ValueError: numbers out of range, or that float32 cannot hold apart.

    >>> sgd = softmax_head(classes=2, features=2, steps=3, learning_rate=1.0)
    >>> sgd.oracle({"features": np.eye(2), "labels": [0, 1], "queries": [[1, 0]]}).round(3).tolist()
    [[0.763, 0.237]]
    """
    check_sizes(
        classes=(classes, 2), features=(features, 1), steps=(steps, 1),
        queries=(queries, 1), length=(length, classes + 2),
    )  # fmt: skip
    check_dtype(dtype)
    if mask not in ("prefix", "causal"):
        raise ValueError(f"mask: expected prefix or causal, got {mask!r}")
    if mask == "causal" and temperature is not None:
        raise ValueError("temperature: reflected tokens need the prefix mask, got causal")
    if jacobian and (weight_decay or temperature is not None):
        # Decay would pull theta to zero, of which the Jacobian knows nothing.
        raise ValueError(
            f"jacobian: expected linear heads and no weight decay, got temperature {temperature} "
            f"and weight decay {weight_decay}"
        )
    asked = Recipe(
        rates=_rates(learning_rate, schedule, steps), momentum=momentum, weight_decay=weight_decay,
        decoupled=decoupled, batches=batches, temperature=temperature, nesterov=nesterov,
    )  # fmt: skip
    # Repeated once a step, a copy of the data is a batch of its own.
    recipe = replace(asked, batches=steps) if mask == "causal" and steps > 1 else asked
    descent.check_recipe(recipe, norm)
    task = HeadTask(
        free=np.eye(classes), features=features, queries=queries, norm=norm, length=length,
        mask=mask, jacobian=jacobian, dtype=dtype,
    )  # fmt: skip
    blueprint, fields = descent.describe(recipe, task)
    name = "softmax-head" if temperature is None else "softmax-head-softmax-only"
    return assemble(
        name,
        blueprint,
        fields=fields,
        certify=partial(certify, name=name, blueprint=blueprint, recipe=recipe, task=task),
        parse=lambda problem: parse(problem, asked, task),
        fill=partial(fill, fields, recipe, task),
        decode=lambda outputs: descent.softmax(np.asarray(outputs)[..., -queries:, :]),
        oracle=lambda **data: descent.softmax(descent.train(asked, task.free, **data)),
        source=SOURCE,
        proof=PROOF,
        enclose=partial(enclose, asked, task),
    )


def enclose(
    recipe: Recipe, task: HeadTask, *, outputs: Any, read: float | None = None, **data: np.ndarray
) -> float:
    """`Construction.enclose` of laws: total variation on the prompt at hand.

    Args:
      recipe, task: of the construction.
      outputs: what holds, holds whatever they are.
      read: unit roundoff of the softmax that reads the laws off; by default that of the arithmetic.
      data: of `fill`.
    """
    f, e = logit_errors(recipe, task.free, task.unit, **data)
    return law_distance(task.free, f, e, task.unit if read is None else read)


def softmax_only(*, temperature: float = 0.01, **options: Any) -> Construction:
    """`softmax_head` without linear attention: reflected tokens at the given temperature."""
    return softmax_head(temperature=temperature, **options)


def certify(
    spec: TransformerSpec,
    params: Params,
    *,
    name: str,
    blueprint: Blueprint,
    recipe: Recipe,
    task: HeadTask,
) -> Certificate:
    """The weights are, entry by entry, the described ones; then `descent.bound` holds.

    Raises:
      ValueError: a weight that is not, or rounding that leaves nothing of a gradient.
    """
    blueprint.verify(name, spec, params)
    step = descent.local_error(recipe, task, task.length)
    norm, limit = task.norm, min(task.length, 2**20)
    if not step[0] < norm**2:
        form = f"temperature {recipe.temperature:g}" if recipe.temperature else "linear heads"
        raise ValueError(
            f"{task.dtype}, {form}: at norm {norm:g} and length {limit:,} a gradient of size "
            f"{norm**2:g} may err by {step[0]:.1e}, expected less: take float32, a shorter prompt, "
            "or a temperature near 0.01 / norm^2"
        )
    law = Record(
        part="layer_0 head 0",
        kind="softmax of the logits",
        margin=MASK - LOGITS - sum(recipe.rates) * norm**2 / (1 - recipe.momentum),
        magnitude=MASK,
        note="other tokens than classes have weight exp(-margin) = 0",
    )
    gradients = [
        Record(
            part=f"layer_1 head {h}",
            kind="gradient" if recipe.temperature is None else "gradient by reflected tokens",
            margin=norm,
            magnitude=norm**2,
            note=f"one step errs by at most {step[0]:.1e} at features of norm {norm:g}",
        )
        for h in range(spec.layers[1].heads)
    ]
    parts = (
        ("error and velocity", "error := law - label, velocity decays"),
        ("step", "logits -= rate velocity"),
    )
    units = [
        Record(part=f"layer_{i} mlp", kind=kind, magnitude=norm**2, note=note)
        for i, (kind, note) in enumerate(parts)
    ]
    if law.margin < 200:
        raise ValueError(
            f"logits may reach {MASK - law.margin:.3g}, where the mask of {MASK:g} does not "
            "hide the other tokens: lower the learning rate, the steps or the norm"
        )
    return by_length(
        spec,
        params,
        (law, *gradients, *units),
        lambda length: descent.bound(recipe, task, length),
        length=limit,
        dtype=task.dtype,
    )


def _rates(learning_rate: float | Sequence[float], schedule: str, steps: int) -> tuple[float, ...]:
    if isinstance(learning_rate, int | float):
        return schedule_rates(float(learning_rate), schedule, steps)
    rates = tuple(float(rate) for rate in learning_rate)
    if len(rates) != steps or schedule != "constant":
        raise ValueError(
            f"learning_rate: expected a number, or {steps} of them and the schedule constant, got "
            f"{len(rates)} and {schedule}"
        )
    return rates
