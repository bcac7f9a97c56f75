"""Supervised fine-tuning of a two-layer ReLU network inside the forward pass, by backpropagation.

The model W relu(U x) is not linear in its weights, so every token carries all of them and the
prompt's examples pull on them in turn: softmax heads only, no linear attention.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from constructions.blueprint import Blueprint, Head, LayerBlueprint, Units
from constructions.certificate import UNIT, Certificate, Record, by_length
from constructions.construction import Construction, assemble
from constructions.fields import vectors
from constructions.gadgets import clear, embedding, move, product, signed_product
from constructions.learners.descent import MASK, Recipe, check_recipe, softmax
from constructions.learners.network_bound import law_error
from constructions.learners.options import check_ranges, check_sizes
from constructions.learners.prompt import as_array, longest
from constructions.residual import Residual
from constructions.spec import Params, TransformerSpec

SOURCE = (
    "backpropagation in looped transformers: Giannou et al. 2023 (arXiv:2301.13196); Wu et al. "
    "2025 for N-layer ReLU networks; with exact products and a softmax head: this library"
)
# relu'(a) is clip(2^20 a, 0, 1): the derivative itself unless 0 < a < 2^-20.
SLOPE = 2.0**20


@dataclass(frozen=True, kw_only=True)
class NetworkTask:
    """What is trained and certified for; the same for all prompts of one construction.

    Args:
      classes, features, hidden: C, d and h.
      queries: m.
      norm: the largest Euclidean norm of a feature vector.
      weight_norm: the largest Frobenius norm of U and of W at the start.
      length: the longest prompt, in tokens.

    Raises:
      ValueError: a number out of range.
    """

    classes: int
    features: int
    hidden: int
    queries: int
    norm: float
    weight_norm: float
    length: int

    def __post_init__(self) -> None:
        check_sizes(
            features=(self.features, 1),
            queries=(self.queries, 1),
            length=(self.length, self.queries),
        )
        check_ranges(
            classes=(self.classes, 2, 2**16),
            hidden=(self.hidden, 1, 2**16),
            norm=(self.norm, 2.0**-20, 2.0**20),
            weight_norm=(self.weight_norm, 2.0**-20, 2.0**20),
        )


def network(
    *, classes: int = 3, features: int = 3, hidden: int = 4,
    steps: int = 4, learning_rate: float = 0.1, momentum: float = 0.0, weight_decay: float = 0.0,
    queries: int = 1, norm: float = 1.0, weight_norm: float = 2.0, length: int = 256,
) -> Construction:  # fmt: skip
    """SGD on all weights of softmax(W relu(U x)), full batches: the laws at the queries, [m, C].

    The problem is ``{"features": [n, d], "labels": [n], "queries": [m, d], "inner": U [h, d],
    "outer": W [C, h]}``: the data and the base model, from which fine-tuning starts.

    Args:
      classes, features, hidden: C, d and h.
      steps, learning_rate, momentum, weight_decay: v <- mu v + gradient, theta <- theta - eta (v +
        lambda theta), as in `optax.trace`, then `optax.add_decayed_weights`.
      queries: m.
      norm: the largest Euclidean norm of a feature vector to certify.
      weight_norm: the largest Frobenius norm of U and of W at the start to certify.
      length: the longest prompt, in tokens, to certify.

    Raises:
      ValueError: numbers out of range.

    >>> network().spec.loops
    5
    """
    C, d, h = classes, features, hidden
    task = NetworkTask(
        classes=C, features=d, hidden=h,
        queries=queries, norm=norm, weight_norm=weight_norm, length=length,
    )  # fmt: skip
    check_sizes(steps=(steps, 1))
    check_ranges(learning_rate=(learning_rate, 0, 1e3))
    recipe = Recipe((learning_rate,) * steps, momentum, weight_decay)
    check_recipe(recipe, norm)
    blueprint, fields = describe(task, recipe)

    def parse(problem: Mapping[str, Any]) -> dict[str, np.ndarray]:
        x = as_array("features", problem["features"], (None, d))
        labels = np.asarray(problem["labels"])
        fits = labels.shape == (len(x),) and labels.dtype.kind in "iu"
        if not fits or not len(x) or not 0 <= labels.min() <= labels.max() < C:
            raise ValueError(f"labels: expected {len(x)} integers from 0 to {C - 1}, got {labels}")
        queried = as_array("queries", np.atleast_2d(problem["queries"]), (queries, d))
        U = as_array("inner", problem["inner"], (h, d))
        W = as_array("outer", problem["outer"], (C, h))
        largest = longest(x, queried)
        weight = max(float(np.linalg.norm(U)), float(np.linalg.norm(W)))
        if largest > norm * (1 + 1e-6) or weight > weight_norm * (1 + 1e-6):
            raise ValueError(
                f"expected features of norm up to {norm:g} and weights of norm up to "
                f"{weight_norm:g} (certified), got {largest:.4g} and {weight:.4g}: build with these"
            )
        return {"features": x, "labels": labels, "queries": queried, "inner": U, "outer": W}

    def oracle(
        *,
        features: np.ndarray,
        labels: np.ndarray,
        queries: np.ndarray,
        inner: np.ndarray,
        outer: np.ndarray,
    ) -> np.ndarray:
        x, y, U, W = features, np.eye(C)[labels], inner, outer
        v, w = np.zeros_like(U), np.zeros_like(W)
        for _ in range(steps):
            a = x @ U.T
            z = np.maximum(a, 0)
            error = (softmax(z @ W.T) - y) / len(x)
            v = momentum * v + ((error @ W) * (a > 0)).T @ x
            w = momentum * w + error.T @ z
            U = U - learning_rate * (v + weight_decay * U)
            W = W - learning_rate * (w + weight_decay * W)
        return softmax(np.maximum(queries @ U.T, 0) @ W.T)

    def fill(*, features: Any, labels: Any, queries: Any, inner: Any, outer: Any) -> Any:
        """float32 [C + n + m, I]: class tokens, examples, queries, each with all weights.

        Args:
          features: [n, d], of NumPy or JAX.
          labels: integers [n].
          queries: [m, d].
          inner, outer: U [h, d] and W [C, h].
        """
        base = {"one": 1, "inner": inner.reshape(-1), "outer": outer.reshape(-1)}
        label = labels[:, None] == np.arange(C)[None]
        return vectors(
            fields,
            (C, {**base, "class": np.eye(C), "hide": 1}),
            (len(features), {**base, "other": 1, "x": features, "label": label}),
            (len(queries), {**base, "other": 1, "x": queries, "hide": 1}),
        )

    return assemble(
        "network",
        blueprint,
        fields=fields,
        certify=partial(certify, blueprint=blueprint, task=task, recipe=recipe),
        parse=parse,
        fill=fill,
        decode=lambda outputs: softmax(np.asarray(outputs)[..., -queries:, :]),
        oracle=oracle,
        enclose=lambda outputs, **data: law_error(recipe, UNIT["float32"], 1 / SLOPE, **data),
        source=SOURCE,
        proof=(
            "Each token multiplies its copy of the weights with its own x (two units a product), "
            "compares its law from the class tokens with its label, and forms its own gradient; a "
            "uniform head averages the gradients over the examples, and each token moves its copy "
            "of the weights by the same average. A loop is a step, the first loop a forward pass."
        ),
    )


def describe(task: NetworkTask, recipe: Recipe) -> tuple[Blueprint, Residual]:
    """Eight layers, looped steps + 1 times: backward, update, forward; and the input's fields.

    Proof. With a, z = relu(a), logits of the loop before:
    0. law := softmax(logits) on the class tokens; error := law - label; law, logits := 0.
    1. back_k := sum_c W_ck error_c, by two units a product.
    2. delta_k := clip(2^20 a_k) back_k = relu'(a_k) back_k; back := 0.
    3. gradient := (delta_k x_j, error_c z_k); velocities times mu.
    4. Scores are 0 on examples and -MASK elsewhere: velocity += mean of the examples' gradients.
       Weights -= eta (velocity + lambda weights); a, z, error, delta, gradient := 0.
    5. a := U x.   6. z := relu(a).   7. logits := W z, z >= 0 by one unit a product.
    In the first loop a = z = 0, so the gradients are 0 and only ``ready`` keeps the decay out. QED
    """
    C, d, h, rate = task.classes, task.features, task.hidden, recipe.rates[0]
    U, W = h * d, C * h
    s = Residual(
        one=1, other=1, hide=1, ready=1, **{"class": C}, label=C, x=d, inner=U, outer=W,
        inner_velocity=U, outer_velocity=W, inner_gradient=U, outer_gradient=W,
        a=h, z=h, logits=C, law=C, error=C, back=h, delta=h,
    )  # fmt: skip
    fields = Residual(one=1, other=1, hide=1, **{"class": C}, label=C, x=d, inner=U, outer=W)
    # Entry k d + j of U is (k, j), entry c h + k of W is (c, k).
    unit, feature = np.divmod(np.arange(U), d)
    label, under = np.divmod(np.arange(W), h)
    law = Head({("logits", "class"): 1.0, ("one", "other"): -MASK}, {("class", "law"): 1.0})
    mean = Head(
        {("one", "hide"): -MASK},
        {(f"{w}_gradient", f"{w}_velocity"): 1.0 for w in ("inner", "outer")},
    )
    update: list[Units] = []
    for w in ("inner", "outer"):
        update.append(move(s, f"{w}_velocity", {w: -rate}))
        if recipe.weight_decay:
            update.append(product(s, "ready", w, w, -rate * recipe.weight_decay))

    slow = [
        move(s, f"{w}_velocity", {f"{w}_velocity": recipe.momentum - 1.0})
        for w in ("inner", "outer")
    ]
    backward = [
        *signed_product(s, ("delta", unit), ("x", feature), "inner_gradient"),
        product(s, ("z", under), ("error", label), "outer_gradient"),
    ]
    compare = [move(s, "law", {"error": 1.0}), move(s, "label", {"error": -1.0})]
    update += clear(s, "a", "z", "error", "delta", "inner_gradient", "outer_gradient")
    layers = (
        LayerBlueprint((law,), (*compare, *clear(s, "law", "logits"))),
        LayerBlueprint(units=signed_product(s, "outer", ("error", label), ("back", under))),
        LayerBlueprint(
            units=(product(s, "a", "back", "delta", slope=SLOPE), *clear(s, "back")),
            gate="hard_sigmoid",
        ),
        LayerBlueprint(units=(*backward, *slow)),
        LayerBlueprint((mean,), tuple(update)),
        LayerBlueprint(
            units=(
                *signed_product(s, "inner", ("x", feature), ("a", unit)),
                move(s, "one", {"ready": 1.0}),
                *clear(s, "ready"),
            )
        ),
        LayerBlueprint(units=(product(s, "a", "one", "z"),)),
        LayerBlueprint(units=(product(s, ("z", under), "outer", ("logits", label)),)),
    )
    blueprint = Blueprint(
        residual=s,
        embed=embedding(fields, s),
        layers=tuple(replace(layer, mask="prefix") for layer in layers),
        out={"logits": np.eye(C)},
        inputs="vectors",
        readout="logits",
        loops=len(recipe.rates) + 1,
    )
    return blueprint, fields


def certify(
    spec: TransformerSpec,
    params: Params,
    *,
    blueprint: Blueprint,
    task: NetworkTask,
    recipe: Recipe,
) -> Certificate:
    """The weights are the described ones; the error is that of rounding, while no kink is met.

    With |U|, |W| <= B and |x| <= Z: |f| <= B^2 Z, and the gradient is at most 2 B Z. It errs by
    gamma = (T + d + h + C + 32) u of that for its sums, and by 2 B Z times the error of the law, at
    most u (2 ln C + 2 C + 12) + gamma B^2 Z. Where no entry of U x has changed its sign (or stands
    within 2^-20 above 0), an error E of the weights moves the gradient by at most
    (sqrt(2) Z + Z^2 B^2) |E|: the triangle inequality, so the bound grows exponentially and is for
    short runs; after long ones it is 1. The gradient of a ReLU network jumps at a kink, so no
    bound without that proviso exists. The law moves by Z B |E| / 2 in total variation.
    """
    blueprint.verify("network", spec, params)
    unit, Z, C = UNIT["float32"], task.norm, task.classes
    momentum, decay, rate = recipe.momentum, recipe.weight_decay, recipe.rates[0]

    def error(length: int) -> float:
        gamma = (length + task.features + task.hidden + C + 32) * unit
        law = unit * (2 * math.log(C) + 2 * C + 12)
        B, E, speed, drift = task.weight_norm, 0.0, 0.0, 0.0
        for _ in recipe.rates:
            local = 2 * B * Z * (gamma + law + gamma * B * B * Z)
            drift = momentum * drift + local + (math.sqrt(2) * Z + Z * Z * B * B) * E
            speed = momentum * speed + 2 * B * Z
            E = (1 + rate * decay) * E + rate * drift + 4 * unit * (B + rate * speed)
            B += rate * speed
            if not E < 1e9:
                return 1.0
        return min(1.0, Z * B * E / 2 + (law + gamma * B * B * Z) / 2)

    reach = task.weight_norm * (1 + 2 * rate * Z / (1 - momentum)) ** len(recipe.rates)
    size = 2 * min(reach, 1e30) * Z
    softmax_note = "exp(-margin) is 0 while logits stay above -16,000"
    step_note = "the derivative itself outside 0 < a < 2^-20"
    kinds: tuple[tuple[Any, ...], ...] = (
        ("layer_0 head 0", "softmax of the logits", MASK, MASK, False, softmax_note),
        ("layer_4 head 0", "mean gradient", MASK, size, False, "sums first, one division"),
        ("layer_0 mlp", "error := law - label", math.inf, 1.0, False, ""),
        ("layer_1 mlp", "back := W' error", math.inf, size, False, ""),
        ("layer_2 mlp", "derivative of relu", 1 / SLOPE, SLOPE, True, step_note),
        ("layer_3 mlp", "outer products", math.inf, size, False, ""),
        ("layer_4 mlp", "step", math.inf, size, False, ""),
        ("layer_5 mlp", "a := U x", math.inf, size, False, ""),
        ("layer_6 mlp", "z := relu(a)", math.inf, size, True, ""),
        ("layer_7 mlp", "logits := W z", math.inf, size, False, ""),
    )
    names = ("part", "kind", "margin", "magnitude", "exact", "note")
    records = tuple(Record(**dict(zip(names, kind, strict=True))) for kind in kinds)
    return by_length(spec, params, records, error, length=min(task.length, 2**20))
