"""In-context learners at the sizes of the literature: d = 20, n = 40, Gaussian inputs, noise 1.

Every learner runs through its weights in float32, certified prompt by prompt by
`Construction.bound`; docs/literature.md says which paper each figure is about.

``python -m benchmarks --suite literature`` measures; ``python -m benchmarks.literature FILE.svg``
draws the curves.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from matplotlib.figure import Figure

from benchmarks.certificates import compared
from benchmarks.measure import Row
from constructions import Construction
from constructions import forward as reference
from constructions.learners.lasso import duality_gap, lasso
from constructions.learners.least_squares import least_squares, ridge
from constructions.learners.newton_schulz import newton_schulz
from icl_sim.transformer import forward

D, N, SPARSE = 20, 40, 3
PROMPTS, TASKS = 20, 256
SHOWN = (5, 10, 15, 20, 25, 30, 35, 40)  # examples
SIZES: dict[str, Any] = {"features": D, "norm": 9.0, "target": 40.0, "length": N + D + 1}
PENALTY = 2.0  # of the Lasso


def gradient_descent(steps: int = 1) -> Construction:
    """At the rate n/(n + d + 1), the best for one step on Gaussian inputs without noise."""
    return least_squares(**SIZES, steps=steps, learning_rate=N / (N + D + 1), a_posteriori=True)


def ridge_descent(steps: int = 64) -> Construction:
    """Gradient descent on ridge regression with the penalty noise^2 / n, the Bayes estimate's."""
    return ridge(**SIZES, penalty=1 / N, steps=steps, learning_rate=0.4, a_posteriori=True)


def newton(steps: int = 16) -> Construction:
    """Newton-Schulz for the same estimate."""
    return newton_schulz(**SIZES, penalty=1 / N, steps=steps, a_posteriori=True)


def ista(loops: int = 1000) -> Construction:
    """The Lasso in so many loops of one layer."""
    return lasso(
        dim=D, radius=40.0, penalty=PENALTY, step=1 / 200, loops=loops, length=N + 1,
        a_posteriori=True,
    )  # fmt: skip


def run(*, prompts: int = PROMPTS, tasks: int = TASKS) -> list[Row]:
    """What float32 is off by at these sizes, and how far predictions are from the truth.

    distance, bound, a priori: of the prediction (of the Lasso: of weights and prediction), medians
    over the prompts; largest is the largest bound / distance, below how many bounds were too low.
    error: (prediction - <w, x>)^2 / d of 40 examples, mean over tasks, and its standard error.
    """
    learners: dict[str, Construction] = {
        "gradient descent, 1 step": gradient_descent(),
        "gradient descent, 16 steps": gradient_descent(16),
        "ridge, 64 steps": ridge_descent(),
        "Newton-Schulz, 16 steps": newton(),
        "Lasso, 1000 loops": ista(),
    }
    rows: list[Row] = []
    for name, built in learners.items():
        rng = np.random.default_rng(0)
        sparse = built.name == "lasso"
        found = np.array(
            [compared(built, _posed(draw(rng, sparse=sparse), sparse)) for _ in range(prompts)]
        )
        of_all = float(built.certificate.error(length=N + 1))
        errors = learned(built, tasks, (N,), sparse=sparse)[0]
        rows.append(
            {
                "name": name,
                "distance": float(np.median(found[:, 0])),
                "bound": float(np.median(found[:, 1])),
                "largest": float((found[:, 1] / found[:, 0]).max()),
                "below": int((found[:, 1] < found[:, 0]).sum()),
                "a priori": of_all,
                "error": float(errors.mean()),
                "standard_error": float(errors.std() / tasks**0.5),
            }
        )
    return rows


def draw(
    rng: np.random.Generator, *, noise: float = 1.0, sparse: bool = False
) -> dict[str, np.ndarray]:
    """Inputs [n + 1, d], targets [n] and weights w [d], all Gaussian; 3 weights not 0 if sparse."""
    x, w = rng.normal(size=(N + 1, D)), rng.normal(size=D)
    if sparse:
        w[rng.permutation(D)[SPARSE:]] = 0
    return {"x": x, "w": w, "y": x[:N] @ w + noise * rng.normal(size=N)}


def _posed(task: dict[str, np.ndarray], sparse: bool, weight: float = 1 / N, shown: int = N) -> Any:
    x, y = task["x"], task["y"]
    here = np.arange(N) < shown
    if sparse:
        return {"inputs": x[:N] * here[:, None], "labels": y * here, "query": x[N]}
    return {"features": x[:N], "targets": y, "queries": x[N:], "weights": weight * here}


def learned(
    built: Construction, tasks: int, sizes: tuple[int, ...] = SHOWN, *, noise: float = 1.0,
    sparse: bool = False,
) -> np.ndarray:  # fmt: skip
    """(prediction - <w, x>)^2 / d by the weights in float32: [sizes, tasks].

    What is not shown has the weight 0. Shown examples weigh 1/40, so that the penalty 1/40 is that
    of noise 1 for any number of them; of one gradient step 1/(n + d + 1) over the rate.
    """
    rng = np.random.default_rng(1)
    drawn = [draw(rng, noise=noise, sparse=sparse) for _ in range(tasks)]
    answer = jax.jit(
        lambda prompts: jax.lax.map(partial(forward, built.spec, built.params), prompts)
    )
    one_step = built.name == "least-squares" and built.spec.loops == 1
    found = []
    for n in sizes:
        weight = (N + D + 1) / (n + D + 1) / N if one_step else 1 / N
        posed = [_posed(task, sparse, weight, n) for task in drawn]
        outputs = np.asarray(answer(np.stack([built.encode(problem) for problem in posed])))
        predicted = outputs[:, -1, -1].astype(float)
        truth = np.array([task["x"][N] @ task["w"] for task in drawn])
        found.append((predicted - truth) ** 2 / D)
    return np.array(found)


def minimum_norm(tasks: int, *, noise: float = 1.0) -> np.ndarray:
    """The same of least squares of least norm, by NumPy: [sizes, tasks]."""
    rng = np.random.default_rng(1)
    drawn = [draw(rng, noise=noise) for _ in range(tasks)]
    return np.array(
        [
            [
                ((np.linalg.lstsq(t["x"][:n], t["y"][:n])[0] - t["w"]) @ t["x"][N]) ** 2 / D
                for t in drawn
            ]
            for n in SHOWN
        ]
    )


def one_step_risk(n: int, noise: float = 1.0) -> float:
    """E (prediction - <w, x>)^2 / d after one step of rate n/(n + d + 1), Gaussian tasks.

    With S = X'X/n: E S = 1 and E tr S^2 = d (1 + (d + 1)/n), so it is
    1 - 2 eta + eta^2 (1 + (d + 1 + noise^2)/n): least at eta = n/(n + d + 1 + noise^2).

    >>> round(one_step_risk(40), 4), round(one_step_risk(40, 0.0), 4)
    (0.355, 0.3443)
    """
    eta = n / (n + D + 1)
    return 1 - 2 * eta + eta**2 * (1 + (D + 1 + noise**2) / n)


def rates() -> dict[str, list[tuple[int, float]]]:
    """Distance of the weights' answer after k loops, in float64, from what they tend to.

    Of the two ridge learners: |prediction - ridge estimate's|, one prompt. Of the Lasso: the
    objective less its least, at most, by the duality gap.
    """
    task = draw(np.random.default_rng(2))
    problem = _posed(task, False)
    x, y = task["x"][:N], task["y"]
    exact = task["x"][N] @ np.linalg.solve(x.T @ x + np.eye(D), x.T @ y)
    curves: dict[str, list[tuple[int, float]]] = {}
    for name, built, steps in (
        ("Newton-Schulz", newton(), range(1, 17)),
        ("gradient descent", ridge_descent(), (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)),
    ):
        curves[name] = []
        for k in steps:
            answer = _after(built, problem, k)
            curves[name].append((k, abs(float(np.squeeze(answer)) - exact)))
    task = draw(np.random.default_rng(2), sparse=True)
    problem, built = _posed(task, True), ista()
    data = built.parse(problem)
    shown = {"inputs": data["inputs"], "labels": data["labels"], "penalty": PENALTY}
    curves["Lasso"] = [
        (k, duality_gap(np.asarray(_after(built, problem, k)["weights"]), **shown))
        for k in (1, 3, 10, 30, 100, 300, 1000)
    ]
    return curves


def _after(built: Construction, problem: Any, loops: int) -> Any:
    spec = replace(built.spec, loops=loops)
    return built.decode(reference(spec, built.params, built.encode(problem)))


def picture(figure: Figure) -> None:
    """Errors against the number of examples; convergence against the number of loops."""
    left, right = figure.subplots(1, 2)
    for name, built, color in (
        ("one step of gradient descent, in weights", gradient_descent(), "#0072B2"),
        ("Newton-Schulz at penalty 1/n, in weights", newton(), "#D55E00"),
    ):
        errors = learned(built, TASKS)
        spread = 2 * errors.std(axis=1) / TASKS**0.5
        left.errorbar(SHOWN, errors.mean(axis=1), spread, marker="o", color=color, label=name)
    left.plot(
        SHOWN, [one_step_risk(n) for n in SHOWN], ":", color="#000000", label="its closed form"
    )
    norm = minimum_norm(TASKS).mean(axis=1)
    left.plot(SHOWN, norm, "--", color="#999999", label="least squares of least norm (NumPy)")
    left.set(xlabel="examples in the prompt", ylabel="squared error / d", ylim=(0, 1.6))
    left.set_title("d = 20, noise 1")
    for (name, curve), color in zip(
        rates().items(), ("#D55E00", "#0072B2", "#009E73"), strict=True
    ):
        right.loglog(*zip(*curve, strict=True), marker="o", color=color, label=name)
    right.set(xlabel="loops", ylabel="distance from the limit", ylim=(1e-13, 1e3))
    right.set_title("Newton's rate is quadratic")
    for axes in (left, right):
        axes.legend(fontsize=7)


if __name__ == "__main__":
    import matplotlib as mpl

    from icl_sim.report.plots import STYLE

    with mpl.rc_context({**STYLE, "svg.fonttype": "path"}):
        drawn = Figure(figsize=(10.4, 3.8), layout="constrained")
        picture(drawn)
        drawn.savefig(Path(sys.argv[1]), metadata={"Date": None})
