"""Gradient descent on a softmax head, in function space: what one pair of layers does to a prompt.

SFT of a head W on frozen features z minimizes sum_i w_i CE(y_i, softmax(z_i W)). Its step is

    V <- mu V + sum_i w_i z_i (p_i - y_i)';    W <- W - eta (V + lambda W)

and a token j needs of W only its logits f_j = z_j W, and of V only v_j = z_j V:

    v_j <- mu v_j + sum_i <z_j, z_i> w_i (p_i - y_i);    f_j <- f_j - eta (v_j + lambda f_j).

So every token carries (f_j, v_j), and the whole recursion runs without W. Layer 0: class tokens
with key = value = e_c turn a softmax head into p_j = softmax(f_j), exactly; the MLP forms
w_j (p_j - y_j) and mu v_j. Layer 1: a linear head adds the sum, the MLP the update.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from constructions.blueprint import Blueprint, Head, LayerBlueprint, Units
from constructions.certificate import UNIT
from constructions.gadgets import clear, embedding, move, product, signed_product
from constructions.learners.options import check_ranges
from constructions.residual import Residual

SCHEDULES = ("constant", "cosine", "linear")
# Score of the tokens that a head must not see: exp(-2^14 - s) is exactly 0 for all s > -16000.
MASK = 2.0**14
# Certified magnitude of the logits that training starts from.
LOGITS = 16.0


@dataclass(frozen=True)
class Recipe:
    """A training run of a head; the same for all prompts of one construction.

    Args:
      rates: the learning rate of each step.
      momentum, weight_decay: mu and lambda.
      decoupled: the decay is added to the update (as above, and in `optax.add_decayed_weights`
        after `optax.trace`); else to the gradient, before the momentum.
      batches: B; step t uses the example weights number t mod B.
      temperature: None for a linear head; else eps of the softmax head on reflected tokens.
      nesterov: a step moves by the gradient and mu times the new velocity, as in
        `optax.trace(nesterov=True)`.
    """

    rates: tuple[float, ...]
    momentum: float = 0.0
    weight_decay: float = 0.0
    decoupled: bool = True
    batches: int = 1
    temperature: float | None = None
    nesterov: bool = False

    @property
    def ahead(self) -> float:
        """Of a step: times the new velocity, less `back` times the old one."""
        return 1.0 + self.back

    @property
    def back(self) -> float:
        """Nesterov: gradient + mu v' = (1 + mu) v' - mu v, since v' = mu v + gradient."""
        return self.momentum if self.nesterov else 0.0

    @property
    def clocked(self) -> bool:
        """Whether a step depends on its number, so that the tokens must carry a clock."""
        return self.batches > 1 or len(set(self.rates)) > 1


@dataclass(frozen=True, kw_only=True, eq=False)
class HeadTask:
    """What a head is trained on and certified for; the same for all prompts of one construction.

    Args:
      free: [k, O], the outputs' row of each of the k classes: softmax(logits free') is the law.
      features, queries: d and m.
      norm: the largest Euclidean norm of a row of features.
      length: the longest prompt, in tokens.
      mask: of the layers; the causal one needs a copy of the data for each step.
      jacobian: rows of features are Jacobians [O, d].
      dtype: the arithmetic, a key of `UNIT`.
    """

    free: np.ndarray
    features: int
    queries: int
    norm: float
    length: int
    mask: str = "prefix"
    jacobian: bool = False
    dtype: str = "float32"

    @property
    def classes(self) -> int:
        """The number k of classes."""
        return len(self.free)

    @property
    def outputs(self) -> int:
        """The number O of logits of a token."""
        return self.free.shape[1]

    @property
    def unit(self) -> float:
        """Unit roundoff; weights and prompts are float32, whatever the arithmetic."""
        return max(UNIT[self.dtype], UNIT["float32"])


def schedule_rates(learning_rate: float, schedule: str, steps: int) -> tuple[float, ...]:
    """The rates of steps 0, 1, ...: constant, or falling to 0 at step number ``steps``.

    >>> schedule_rates(1.0, "cosine", 2)
    (1.0, 0.5)
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {schedule!r}")
    done = np.arange(steps) / max(steps, 1)
    shape = {"constant": 1 + 0 * done, "cosine": (1 + np.cos(np.pi * done)) / 2, "linear": 1 - done}
    return tuple((learning_rate * shape[schedule]).tolist())


def describe(recipe: Recipe, task: HeadTask) -> tuple[Blueprint, Residual]:
    """The two layers of one step, looped once a step, and the fields of an input vector.

    Proof, with the named slices. Layer 0: <logits, class> is f_jc on the token of class c, and the
    other tokens' scores are -MASK below any logit, weight exactly 0; so law = softmax(f_j).
    error := active (law - label), law := 0, velocity := mu velocity (plus lambda logits). Layer 1:
    velocity += sum_i <z_j, z_i> error_i, in which class and query tokens have error 0, since their
    weight is 0. logits -= eta velocity (plus eta lambda logits); error := 0.

    The rate of step t is a number in the weights and t a one-hot vector, the clock, that every
    token carries and shifts by one entry each loop (0 - 1 and 1 - 1 are exact). A gate that reads
    sum_t eta_t clock_t is the present rate, exactly. The same clock picks the next batch's weight.

    Nesterov's step is eta ((1 + mu) v' - mu v): layer 0, whose head has read the logits by then,
    adds eta mu v to them and takes their decoupled decay; layer 1 does the rest.

    With softmax heads only, each example also stands as (-z_i, weight -w_i): then
    sum_i (e^(eps s) - e^(-eps s)) w_i r_i / sum_i (e^(eps s) + e^(-eps s)), with s = <z_j, z_i> and
    weights n w_i, is eps sum_i s w_i r_i (1 + O(eps^2 s^2)): the linear head's sum.

    With a ``jacobian`` the features of a token are C rows J_c, and logit c is J_c delta: C^2 linear
    heads add sum_i <J_jc, J_ic'> error_ic' to velocity_c, which is J_jc times the gradient. QED
    """
    r, steps, outputs = recipe, len(recipe.rates), task.outputs
    rows = [f"features_{c}" for c in range(outputs)] if task.jacobian else ["features"]
    data = {
        **dict.fromkeys(rows, task.features),
        **({"key": task.features, "hidden": 1} if r.temperature else {}),
    }
    fields = Residual(
        one=1, other=1, **{"class": outputs}, label=outputs, **data, weight=r.batches,
        logits=outputs,
    )  # fmt: skip
    clock = {"clock": steps, "weight": r.batches} if r.clocked else {}
    s = Residual(
        one=1, other=1, **{"class": outputs}, label=outputs, **data, **clock, active=1,
        logits=outputs, law=outputs, error=outputs, velocity=outputs,
    )  # fmt: skip
    first = [
        *clear(s, "law"),
        move(s, "velocity", {"velocity": r.momentum - 1.0}),
    ]
    for source, gain in (("law", 1.0), ("label", -1.0)):
        pair = signed_product(s, "active", source, "error", gain)
        first += pair if r.temperature else pair[:1]
    second = list(clear(s, "error"))
    changes = [("velocity", r.ahead)]
    early = [("velocity", -r.back)] if r.back else []
    if r.weight_decay and r.decoupled:
        (early if r.back else changes).append(("logits", r.weight_decay))
    elif r.weight_decay:
        first.append(move(s, "logits", {"velocity": r.weight_decay}))
    extra = {"active": ("weight", 0, 0)}
    if r.clocked:
        extra["clock"] = ("one", 0, 0)
        first += clear(s, "active")
        for part, moved in ((first, early), (second, changes)):
            for source, gain in moved:
                part.append(product(s, "clock", source, "logits", -gain, weights=r.rates))
        shift = np.eye(steps, k=1) - np.eye(steps)
        second.append(Units(gate_bias=1.0, up={"clock": np.eye(steps)}, down={"clock": shift}))
        for b in range(r.batches):
            now = [float((t + 1) % r.batches == b) for t in range(steps)]
            second.append(product(s, "clock", ("weight", [b]), "active", weights=now))
    else:
        first += [move(s, source, {"logits": -gain * r.rates[0]}) for source, gain in early]
        second += [move(s, source, {"logits": -gain * r.rates[0]}) for source, gain in changes]
    law = Head({("logits", "class"): 1.0, ("one", "other"): -MASK}, {("class", "law"): 1.0})
    if r.temperature:
        scores = {("features", "key"): 1.0, ("one", "hidden"): -MASK / r.temperature}
        pulls = [Head(scores, {("error", "velocity"): 1 / r.temperature})]
    elif task.jacobian:
        unit = np.eye(outputs)
        pulls = [
            Head({(rows[c], rows[k]): 1.0}, {("error", "velocity"): np.outer(unit[k], unit[c])})
            for c in range(outputs)
            for k in range(outputs)
        ]
    else:
        pulls = [Head({("features", "features"): 1.0}, {("error", "velocity"): 1.0})]
    last = LayerBlueprint(
        tuple(pulls),
        tuple(second),
        attend="softmax" if r.temperature else "linear",
        scale=r.temperature or 1.0,
        mask=task.mask,
    )
    blueprint = Blueprint(
        residual=s,
        embed=embedding(fields, s, extra),
        layers=(LayerBlueprint((law,), tuple(first), mask=task.mask), last),
        out={"logits": np.eye(outputs)},
        inputs="vectors",
        readout="logits",
        loops=steps,
    )
    return blueprint, fields


def local_error(recipe: Recipe, task: HeadTask, length: int) -> tuple[float, float]:
    """Largest errors that one step makes, Euclidean norms of C entries of velocity and of logits.

    Softmax: an argument s - max has the error u |s - max| and sum_c p_c (max - s_c) <= ln C; with 4
    units for exp and the sums of C terms, the law's error is at most a = u (2 ln C + 2 C + 12) in
    L1. A sum of T products of d-term products has gamma = (T + d + 12) u of sum_i |s| w_i |r_i| <=
    sqrt(2) Z^2, Z the norm of the features (conversion to float32 included). The reflected form
    divides errors of sums of size e^q, q = eps Z^2, by eps, and drops
    sqrt(2) Z^2 (sinh q / q - 1 + (cosh q - 1) sinh q / q) <= sqrt(2) 2/3 Z^2 q^2 cosh(q)^2.
    """
    C, Z2, root, unit = task.classes, task.norm**2, math.sqrt(2), task.unit
    law = unit * (2 * math.log(C) + 2 * C + 12)
    gamma = (length + task.features + 12) * unit
    gradient = Z2 * (law + root * gamma)
    if recipe.temperature:
        q = recipe.temperature * Z2
        if q > 20:
            return math.inf, math.inf
        rounding = math.exp(2 * q) * gamma * max(1.0, q) / recipe.temperature
        gradient = Z2 * law + root * (rounding + Z2 * (2 / 3) * q * q * math.cosh(q) ** 2)
    decay, mu = recipe.weight_decay, recipe.momentum
    top = max(recipe.rates)
    logits = math.sqrt(C) * LOGITS + sum(recipe.rates) * root * Z2 / (1 - mu)
    velocity = (root * Z2 + (0 if recipe.decoupled else decay * logits)) / (1 - mu)
    shrink = decay if recipe.decoupled else 0.0
    if recipe.back:  # two additions, each of more
        logits, velocity = 2 * logits + 2 * top * velocity, 3 * velocity
    return (
        gradient + 4 * unit * velocity,
        unit * (2 * logits + 4 * top * (velocity + shrink * logits)),
    )


def bound(recipe: Recipe, task: HeadTask, length: int) -> float:
    """Largest total variation from exact training after all steps, at a query of that norm.

    Write the logits' error as o_j + z_j A: o_j what steps put in directly, A a change of the head.
    With H_i, between 0 and 1/2, the softmax's Jacobian on the way (mean value theorem),

        A <- (I - eta M) A - eta sum_i w_i z_i (H_i o_i)',    0 <= M <= Z^2/2,

    so without momentum, while eta (Z^2/2 + lambda) <= 2, |A| grows by eta Z/2 max |o| a step and
    not exponentially: gradient descent on a convex function does not spread. With momentum
    there is no such norm, and the triangle inequality is used: exponential, hence 1 (nothing) for
    long runs. An error x of the logits moves the law by at most sum_c p_c |x_c - sum p x| <=
    (max x - min x)/2 <= |x|/sqrt(2) in L1, half of that in TV.
    """
    by_velocity, by_logits = local_error(recipe, task, length)
    if not math.isfinite(by_velocity):
        return 1.0
    mu, decay = recipe.momentum, recipe.weight_decay
    Z = task.norm
    stable = mu == 0 and max(recipe.rates) * (Z * Z / 2 + decay) <= 2
    into = 0.0 if recipe.decoupled else decay
    o = v = A = U = 0.0
    for eta in recipe.rates:
        last_v, last_U = v, U
        v = mu * v + by_velocity + into * o
        U = mu * U + Z / 2 * o + (0.0 if stable else (Z * Z / 2 + into) * A)
        o = o + eta * (recipe.ahead * v + recipe.back * last_v) + by_logits
        A += eta * (recipe.ahead * U + recipe.back * last_U)
        if A > 1e9:
            return 1.0
    return min(1.0, (o + Z * A) / math.sqrt(8))


def train(
    recipe: Recipe, free: np.ndarray, *, features: np.ndarray, queries: np.ndarray,
    labels: np.ndarray, weights: np.ndarray, logits: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """float64 [m, O]: the same run by its definition, in weight space, for the oracles.

    The model is f0 scale + z W, with scale 1 and W = 0 at first: decay acts on both alike.

    Args:
      recipe: the run.
      free: [k, O]: the law of the k classes is softmax(logits free'); the identity for a softmax
        head, and (0, 1)' for the sigmoid of one logit.
      features, queries: [n, d] and [m, d], or Jacobians [n, O, d] and [m, O, d] (then W is [d]).
      labels: [n, O], laws.
      weights: [B, n].
      logits: f0, [n + m, O].

    Returns:
      The logits of the m queries.
    """
    n = len(labels)
    forward, back = "nd,do->no", "nd,no->do"
    W = np.zeros((features.shape[-1], logits.shape[1]))
    if features.ndim == 3:
        forward, back, W = "nod,d->no", "nod,no->d", W[:, 0]
    V, scale, pull = np.zeros_like(W), 1.0, 0.0
    for t, eta in enumerate(recipe.rates):
        p = softmax((logits[:n] * scale + np.einsum(forward, features, W)) @ free.T) @ free
        gradient = np.einsum(back, features, weights[t % recipe.batches][:, None] * (p - labels))
        decay = recipe.weight_decay
        before = 0.0 if recipe.decoupled else decay
        last = recipe.back * V, recipe.back * pull
        V = recipe.momentum * V + gradient + before * W
        pull = recipe.momentum * pull + before * scale
        after = decay if recipe.decoupled else 0.0
        W = W - eta * (recipe.ahead * V - last[0] + after * W)
        scale = scale - eta * (recipe.ahead * pull - last[1] + after * scale)
    return logits[n:] * scale + np.einsum(forward, queries, W)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def check_recipe(recipe: Recipe, norm: float) -> None:
    """Raises ValueError for numbers that are no training run."""
    r = recipe
    if not r.rates or not all(math.isfinite(rate) and rate >= 0 for rate in r.rates):
        raise ValueError(f"rates: expected at least one, all finite and >= 0, got {r.rates}")
    check_ranges(
        momentum=(r.momentum, 0, 1 - 2.0**-20),
        weight_decay=(r.weight_decay, 0, 1e3),
        batches=(r.batches, 1, 2**20),
        norm=(norm, 2.0**-20, 2.0**20),
        # Below a millionth, rounding divided by the temperature is larger than what the step adds.
        temperature=(0.01 if r.temperature is None else r.temperature, 1e-6, 1e3),
    )
