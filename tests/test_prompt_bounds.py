"""`Construction.bound`: never below what float32 does, and near enough to say something."""

from __future__ import annotations

import numpy as np
import pytest
from cases_learners import CASES, halfspace
from test_constructions import distance
from tolerances import F64

from constructions import CONSTRUCTIONS, reference
from constructions.learners import ellipsoid
from constructions.learners.descent import softmax
from constructions.learners.lasso import duality_gap, iterate_error
from constructions.learners.least_squares import least_squares
from constructions.learners.network_bound import _forward, _gradients

ENCLOSED = (
    "lasso", "least-squares", "logistic", "network", "newton-schulz", "ridge", "softmax-head",
    "softmax-head-softmax-only", "svm",
)  # fmt: skip
members = pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name in ENCLOSED for case in CASES[name]]
)


@pytest.fixture
def in_float32(monkeypatch):
    """(built, problem) -> NumPy's float32 outputs, without compiling, and what they are off by."""

    def run(built, problem):
        with monkeypatch.context() as single:
            single.setattr(reference, "_floats", lambda values: np.asarray(values, np.float32))
            outputs = reference.forward(built.spec, built.params, built.encode(problem))
        # Hardmax counts in integers.
        assert outputs.dtype == np.float32 or built.name == "svm"
        return outputs, distance(built, built.decode(outputs), built.oracle(problem))

    return run


@members
def test_never_below_what_float32_does_and_near_it(name, case, in_float32):
    built = CONSTRUCTIONS[name](**case.options)
    rng = np.random.default_rng(11)
    n, found = min(case.most(built), 24), []
    for _ in range(8):
        problem = case.draw(rng, n)
        _, off = in_float32(built, problem)
        bound = built.bound(problem)
        of_all = built.certificate.error(length=len(built.encode(problem)))
        assert off <= bound <= of_all
        found.append((off, bound))
    off, bound = np.max(found, axis=0)
    assert bound < 1000 * off


def test_the_test_can_fail(in_float32):
    """With a unit roundoff a thousandth of float32's, what float32 does is over the bound."""
    case = CASES["lasso"][0]
    built = CONSTRUCTIONS["lasso"](**case.options)
    problem = case.draw(np.random.default_rng(0), 30)
    _, off = in_float32(built, problem)
    bound, data = built.bound(problem), built.parse(problem)
    options = {"rate": float(np.float32(0.02)), "threshold": float(np.float32(0.01)), "loops": 50}
    rows = (data["inputs"], data["labels"], data["query"][None])
    errors = [iterate_error(*rows, **options, unit=2.0**-k)[1].max() for k in (24, 34)]
    assert errors[1] < off <= errors[0] <= bound


def test_constructions_without_their_own_have_the_certificate_of_that_length():
    built = CONSTRUCTIONS["lookup"]()
    problem = {"stream": [0, 1, 0]}
    length = len(built.encode(problem))
    assert built.bound(problem) == built.certificate.error(length=length)
    assert CONSTRUCTIONS["single"]().bound({"tape": ["0"], "steps": 3}) == 0.0


def test_beyond_the_certificate_there_is_no_bound():
    with pytest.raises(ValueError, match="expected features of norm up to"):
        least_squares().bound({"features": [[9, 0, 0, 0]], "targets": [1], "queries": [[0] * 4]})


def test_an_ellipsoid_holds_every_corner():
    rng = np.random.default_rng(0)
    J, B, K = (rng.normal(size=(3, 3)) for _ in range(3))
    both = ellipsoid.total(J @ ellipsoid.box(B) @ J.T, ellipsoid.box(K))
    rows = rng.normal(size=(50, 3))
    signs = np.array(np.meshgrid(*[[-1, 1]] * 6)).reshape(6, -1)
    reached = np.abs(rows @ (J @ B @ signs[:3] + K @ signs[3:])).max(axis=1)
    held = ellipsoid.widths(both, rows)
    assert (reached <= held).all()
    assert np.median(held / reached) < 2
    assert (reached > ellipsoid.widths(both / 16, rows)).any(), "the test could not fail"


def test_a_gap_contains_the_distance_of_the_svm(in_float32):
    built = CONSTRUCTIONS["svm"](dim=4, radius=1.001, loops=60)
    for seed in range(12):
        rng = np.random.default_rng(seed)
        problem = halfspace(rng, 30, dim=4, radius=1.0, integers=False)
        outputs, off = in_float32(built, problem)
        bound = built.bound(problem, outputs=outputs)
        assert off <= bound < built.bound(problem)
    # Not for other weights than the answer's: what is certified depends on what came out.
    inputs = built.encode(problem)
    outputs = np.zeros((len(inputs), 5))
    outputs[-1, 0] = 1.0
    assert built.enclose(outputs=outputs, **built.parse(problem)) > 0.1


def test_a_gap_contains_the_objective_of_the_lasso():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(30, 5)), rng.normal(size=30)
    built = CONSTRUCTIONS["lasso"](
        dim=5, penalty=2.0, radius=8.0, step=0.01, loops=4000, length=31, a_posteriori=True
    )
    data = {"inputs": x, "labels": y}
    best = built.oracle(data | {"query": x[0]})["weights"]

    def objective(w):
        return ((x @ w - y) ** 2).sum() / 2 + 2 * np.abs(w).sum()

    x, y = (np.float32(one).astype(float) for one in (x, y))
    assert duality_gap(best, inputs=x, labels=y, penalty=2.0) < 1e-9
    for _ in range(20):
        w = best + 0.1 * rng.normal(size=5)
        gap = duality_gap(w, inputs=x, labels=y, penalty=2.0)
        assert objective(w) - objective(best) <= gap < 3 * objective(w)


def test_the_derivative_of_the_networks_gradient():
    rng = np.random.default_rng(5)
    h, d, C, n = 4, 3, 3, 6
    x, y = rng.normal(size=(n, d)), np.eye(C)[rng.integers(0, C, n)]
    theta, nothing = rng.normal(size=h * d + C * h), np.zeros(h * d + C * h)

    def at(theta):
        here = _forward(theta, nothing, nothing, x, h, 0.0, 0.0)
        return _gradients(theta, nothing, nothing, here, x, y, 0.0)

    g, H, off, _ = at(theta)
    U, W = theta[: h * d].reshape(h, d), theta[h * d :].reshape(C, h)
    z = np.maximum(x @ U.T, 0)
    r = softmax(z @ W.T) - y
    by_hand = [((r @ W) * (z > 0)).T @ x / n, r.T @ z / n]
    np.testing.assert_allclose(g, np.concatenate([one.reshape(-1) for one in by_hand]), **F64)
    assert not off.any()
    step = 1e-6
    for i in range(len(theta)):
        moved = [at(theta + sign * step * np.eye(len(theta))[i])[0] for sign in (1, -1)]
        np.testing.assert_allclose((moved[0] - moved[1]) / (2 * step), H[:, i], atol=1e-8)


def test_a_run_that_diverges_is_certified_by_nothing():
    wild = least_squares(features=1, steps=200, learning_rate=9.0, norm=2.0, a_posteriori=True)
    problem = {"features": [[2.0]], "targets": [1.0], "queries": [[1.0]]}
    assert wild.certificate.error(length=2) == np.inf
    assert wild.bound(problem) > 1e6
    assert not wild.bound(problem | {"features": [[0.1]]}) > 1e-3
    with pytest.raises(ValueError, match="or descent diverges"):
        least_squares(learning_rate=9.0, norm=2.0)
