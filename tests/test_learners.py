"""The learners one by one: what they refuse, and what their algorithms promise."""

from __future__ import annotations

import numpy as np
import pytest
from cases_learners import classes, halfspace, repetitive_stream, sparse_regression, table_pairs
from sklearn.linear_model import Lasso
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC

from constructions import CONSTRUCTIONS, forward
from constructions.learners.svm import point_of_least_norm


def answer(built, problem):
    return built.decode(forward(built.spec, built.params, built.encode(problem)))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hash-lookup", {"width": 4}, "keep different contexts only .* widen them, 64 or more"),
        ("hash-lookup", {"beta": 20.0}, "at length 1,024 and score gap .* raise beta"),
        ("hash-lookup", {"order": 64, "width": 4096}, "order 64 and width 4,096 reach 67,108,864"),
        ("hash-lookup", {"vocab": 1}, "vocab: expected at least 2, got 1"),
        ("hash-lookup", {"beta": 1e9}, "beta: expected 0 < beta <= 1,048,576 .scores overflow."),
        ("selection", {"beta": 100.0}, "beta: expected 0 < beta <= 80 .exp underflows beyond."),
        ("nadaraya-watson", {"bandwidth": 1e30}, "bandwidth: expected 0 < bandwidth <= 1e6"),
        ("lasso", {"penalty": 0.0}, "penalty: expected a positive number, got 0"),
        ("lasso", {"dtype": "bfloat16"}, "lasso: in bfloat16 rounding may reach"),
        ("mixture", {"tables": [[[0.0, 1.0]]]}, "positive rows with sum 1, got entries from 0"),
        ("mixture", {"tables": [[0.5, 0.5]]}, r"tables: expected shape \[K, m, V\], got \[1, 2\]"),
        ("mixture", {"prior": [1.0]}, "prior: expected 3 positive numbers"),
        ("mixture", {"length": 10**6}, "mixture: in float32 log-likelihoods up to 2,079,442"),
        ("mixture", {"dtype": "tf32"}, "mixture: in tf32 log-likelihoods"),
        ("nadaraya-watson", {"bandwidth": 1e-3}, "in float32 scores of .* widen the bandwidth"),
        ("nadaraya-watson", {"dtype": "bfloat16"}, "in bfloat16 scores"),
        (
            "perceptron",
            {"loops": 10**8},
            "float32 holds integers up to 16,777,216, and 100,000,000",
        ),
        ("perceptron", {"dtype": "bfloat16"}, "bfloat16 holds integers up to 256"),
        ("perceptron", {"dtype": "int8"}, "dtype: expected one of float64, float32"),
        ("retrieval", {"radius": 1000.0}, "float32 holds integers up to 16,777,216, and scores"),
        ("retrieval", {"nearest": 40}, "nearest: expected 1 to 32, the most items, got 40"),
        ("selection", {"sharpness": 1e5}, "at length 128, beta 64 and sharpness 100000"),
        ("selection", {"beta": 4.0}, "the error is .* raise beta"),
        ("svm", {"dtype": "bfloat16"}, "svm: in bfloat16 the picks' rounding moves"),
        ("svm", {"loops": 1}, "loops: expected at least 2, got 1"),
    ],
)
def test_what_cannot_be_certified_is_refused_with_the_numbers(name, options, message):
    with pytest.raises(ValueError, match=message):
        CONSTRUCTIONS[name](**options)


def test_params_of_another_shape_are_not_certified():
    built = CONSTRUCTIONS["svm"]()
    with pytest.raises(ValueError, match="missing w_out"):
        built.certify(built.spec, {k: v for k, v in built.params.items() if k != "w_out"})
    with pytest.raises(ValueError, match="the spec is not that of the construction"):
        built.certify(CONSTRUCTIONS["lasso"]().spec, built.params)


POINTS = {"inputs": [[1, 2], [3, 1]], "labels": [1, -1], "query": [1, 1]}
LABELED = {"inputs": [[1, 0], [0, 1], [1, 1]], "labels": [0, 2, 1], "query": [1, 1]}
PAIRS = {"pairs": [(0, 1), (1, 2)], "query": 0}


@pytest.mark.parametrize(
    ("name", "problem", "message"),
    [
        ("hash-lookup", {"stream": [0, 9]}, "stream: expected 0 to 3, got 0 to 9"),
        ("hash-lookup", {"stream": [0.5, 1.0]}, "stream: expected 2 integers, got float64"),
        ("perceptron", POINTS | {"inputs": [[1, 2, 3]]}, r"expected shape \[n, 2\], got \[1, 3\]"),
        ("perceptron", POINTS | {"labels": [1]}, "one for each of 1 or more inputs, got 1 for 2"),
        ("perceptron", POINTS | {"labels": [1, 0]}, r"labels: expected \+1 or -1, got 0"),
        ("perceptron", POINTS | {"query": [0.5, 0]}, "query: expected integers, .* got 0.5"),
        ("perceptron", POINTS | {"query": [9, 0]}, "query: expected rows of norm at most 8, got 9"),
        ("svm", POINTS, "inputs: expected rows of norm at most 1, got 3.16"),
        ("svm", POINTS | {"inputs": [[np.nan, 0], [0, 1]]}, "expected finite numbers, got NaN"),
        ("lasso", POINTS | {"labels": [5, 1]}, "inputs: expected rows of norm at most 2"),
        ("nadaraya-watson", LABELED | {"labels": [0, 3, 1]}, "labels: expected 0 to 2, got 0 to 3"),
        ("nadaraya-watson", LABELED | {"inputs": [[]]}, r"expected shape \[n, 2\], got \[1, 0\]"),
        ("retrieval", LABELED | {"query": [0.5, 0]}, "query: expected integers, whose distances"),
        (
            "retrieval",
            {"inputs": [[1, 0]], "labels": [0], "query": [1, 1]},
            "inputs: expected at least 3 items, got 1",
        ),
        ("mixture", PAIRS | {"query": 2}, "query: expected 0 to 1, got 2 to 2"),
        ("mixture", PAIRS | {"pairs": [(0, 5)]}, "outputs of pairs: expected 0 to 2, got 5 to 5"),
    ],
)
def test_data_of_the_wrong_shape_or_range_is_refused(name, problem, message):
    with pytest.raises(ValueError, match=message):
        CONSTRUCTIONS[name]().encode(problem)


def test_a_step_too_long_for_the_data_is_refused():
    built = CONSTRUCTIONS["lasso"](step=0.5)
    problem = {"inputs": [[2, 0], [2, 0]], "labels": [1, 1], "query": [0, 0]}
    with pytest.raises(ValueError, match=r"expected \|X\|\^2 <= 2, .* got 8: build with a smaller"):
        built.encode(problem)


def test_likelihoods_too_close_to_choose_by_are_refused():
    tables = [[[0.6, 0.4]], [[0.4, 0.6]]]
    built = CONSTRUCTIONS["prompt-choice"](tables=tables)
    with pytest.raises(ValueError, match=r"best two log-likelihoods 0.0e\+00 apart, rounded by"):
        built.encode({"pairs": [(0, 0), (0, 1)], "query": 0})
    found = answer(built, {"pairs": [(0, 0), (0, 1), (0, 1)], "query": 0})
    np.testing.assert_allclose(found, [0.4, 0.6], atol=1e-7)
    # Without data all are equally likely, exactly, and are averaged.
    np.testing.assert_allclose(answer(built, {"pairs": [], "query": 0}), [0.5, 0.5], atol=1e-7)


def test_different_contexts_stay_apart_by_the_certified_distance():
    built = CONSTRUCTIONS["hash-lookup"](vocab=2, order=6)
    certified = int(built.certificate.records[-1].note.split(" or more")[0].split()[-1])
    r = built.residual
    codes = [built.params["embed"][:2, r["hash"]]]
    codes += [
        built.params["layer_0.w_v"][j, r["symbol"]] @ built.params["layer_0.w_o"][j, :, r["hash"]]
        for j in range(5)
    ]
    sums = np.zeros((1, r.sizes["hash"]))
    for code in codes:  # all 64 contexts
        sums = (sums[:, None] + code[None]).reshape(-1, sums.shape[1])
    distances = ((sums[:, None] - sums[None]) ** 2).sum(axis=-1)
    closest = distances[~np.eye(64, dtype=bool)].min()
    assert certified <= closest
    assert certified >= 1


def test_one_bit_of_width_too_few_shows_in_the_answers():
    """What the certificate refuses does go wrong: codes of width 4 confuse contexts."""
    plain = CONSTRUCTIONS["hash-lookup"](vocab=3, order=5, length=200)
    rng = np.random.default_rng(0)
    problem = repetitive_stream(rng, 150)
    inputs = plain.encode(problem)
    params = {name: leaf.copy() for name, leaf in plain.params.items()}
    narrow = plain.residual["hash"]
    keep = slice(narrow.start + 4, narrow.stop)
    params["embed"][:, keep] = 0
    params["layer_0.w_o"][:, :, keep] = 0
    wrong = plain.decode(forward(plain.spec, params, inputs))
    assert np.abs(wrong - plain.oracle(problem)).sum() / 2 > 0.01


def test_the_perceptron_separates_within_novikoffs_bound():
    built = CONSTRUCTIONS["perceptron"](dim=3, loops=300, length=64)
    rng = np.random.default_rng(3)
    for _ in range(5):
        target = np.array([1.0, -1.0, 1.0]) / np.sqrt(3)
        inputs = rng.integers(-4, 5, (400, 3))
        inputs = inputs[np.abs(inputs @ target) >= 1][:60]
        labels = np.where(inputs @ target > 0, 1, -1)
        bound = (np.linalg.norm(inputs, axis=1).max() / 1) ** 2
        assert bound + 1 <= 300
        found = answer(built, {"inputs": inputs, "labels": labels, "query": [1, 0, 0]})
        assert (labels * (inputs @ found["weights"]) > 0).all()


def test_every_token_holds_what_the_examples_before_it_teach():
    built = CONSTRUCTIONS["perceptron"](dim=3, loops=40)
    problem = halfspace(np.random.default_rng(4), 30)
    outputs = forward(built.spec, built.params, built.encode(problem))
    for n in (1, 7, 30):
        part = {"inputs": problem["inputs"][:n], "labels": problem["labels"][:n]}
        alone = built.oracle(part | {"query": problem["query"]})
        np.testing.assert_array_equal(outputs[n - 1, :3], alone["weights"])


def test_the_svm_follows_frank_wolfe_and_tends_to_the_maximal_margin():
    built = CONSTRUCTIONS["svm"](dim=3, loops=4000, length=40)
    rng = np.random.default_rng(5)
    inputs = rng.uniform(-0.5, 0.5, (200, 3))
    inputs = inputs[np.abs(inputs.sum(axis=1)) > 0.3][:30]
    problem = {"inputs": inputs, "labels": np.sign(inputs.sum(axis=1)), "query": [1, 0, 0]}
    found = answer(built, problem)["weights"]
    z = problem["inputs"] * problem["labels"][:, None]
    w = z.mean(axis=0)  # the first pick: all score alike
    for t in range(1, 3999):
        w = w + 2 / (t + 2) * (z[np.argmin(z @ w)] - w)
    np.testing.assert_allclose(found, w, rtol=1e-4, atol=1e-7)
    best = point_of_least_norm(z)
    machine = SVC(kernel="linear", C=1e9).fit(np.concatenate([z, -z]), np.repeat([1, -1], len(z)))
    direction = machine.coef_[0] / np.linalg.norm(machine.coef_)
    np.testing.assert_allclose(best / np.linalg.norm(best), direction, atol=2e-3)
    np.testing.assert_allclose(found, best, atol=0.02 * np.linalg.norm(best))


def test_the_lasso_tends_to_the_minimum_at_the_known_rate():
    problem = sparse_regression(np.random.default_rng(6), 30)
    penalty, step = 0.5, 0.02
    inputs, labels = (np.asarray(problem[name]) for name in ("inputs", "labels"))

    def objective(w):
        return ((inputs @ w - labels) ** 2).sum() / 2 + penalty * np.abs(w).sum()

    best = Lasso(alpha=penalty / 30, fit_intercept=False, tol=1e-12, max_iter=10**5)
    best = best.fit(inputs, labels).coef_
    for loops in (4, 16, 64, 256):
        built = CONSTRUCTIONS["lasso"](dim=3, penalty=penalty, step=step, loops=loops, length=40)
        gap = objective(answer(built, problem)["weights"]) - objective(best)
        assert -1e-5 <= gap <= (best @ best) / (2 * step * loops) + 1e-5
    weights = answer(built, problem)["weights"]
    np.testing.assert_array_equal(weights == 0, best == 0)  # zeros are exact, by relu
    assert (best == 0).any()
    np.testing.assert_allclose(weights, best, atol=1e-5)


def test_retrieval_is_the_nearest_neighbors_rule():
    built = CONSTRUCTIONS["retrieval"](items=32, nearest=5)
    rng = np.random.default_rng(7)
    for _ in range(5):
        problem = classes(rng, 30, grid=15)
        law = answer(built, problem)["law"]
        rule = KNeighborsClassifier(5).fit(problem["inputs"], problem["labels"])
        expected = np.zeros(3)
        expected[rule.classes_] = rule.predict_proba([problem["query"]])[0]
        distances = np.sort(((problem["inputs"] - problem["query"]) ** 2).sum(axis=1))
        if distances[4] < distances[5]:  # else the rule may break the tie otherwise
            np.testing.assert_allclose(law, expected, atol=1e-6)


def test_the_mixture_concentrates_on_the_true_table():
    rng = np.random.default_rng(8)
    tables = rng.dirichlet(np.ones(4), (8, 3)) * 0.9 + 0.025
    mixture = CONSTRUCTIONS["mixture"](tables=tables, length=512)
    choice = CONSTRUCTIONS["prompt-choice"](tables=tables, length=512)
    contexts = rng.integers(0, 3, 400)
    outputs = [int(rng.choice(4, p=tables[5, c])) for c in contexts]
    problem = {"pairs": list(zip(contexts.tolist(), outputs, strict=True)), "query": 1}
    for built in (mixture, choice):
        np.testing.assert_allclose(answer(built, problem), tables[5, 1], atol=1e-3)


def test_selection_prefers_the_order_of_the_source():
    built = CONSTRUCTIONS["selection"](vocab=2, order=2, length=256)
    rng = np.random.default_rng(9)
    first, second = [0], [0, 0]
    for _ in range(200):
        first.append(int(rng.random() < (0.9 if first[-1] else 0.2)))
        second.append(int(second[-1] ^ second[-2] ^ (rng.random() < 0.1)))
    choice = built.residual["choice"]
    params = {name: leaf.copy() for name, leaf in built.params.items()}
    params["w_out"][:] = 0
    # The readout turned to the weights of orders 1 and 2.
    params["w_out"][choice.start + 1 : choice.stop] = np.eye(2)
    for stream, best in ((first, 0), (second, 1)):
        weights = forward(built.spec, params, built.encode({"stream": stream}))[-1]
        assert weights.argmax() == best
    assert weights[1] > 0.95  # order 1 is blind to an exclusive or


def test_a_smaller_bandwidth_comes_nearer_to_the_nearest_neighbor():
    problem = table = classes(np.random.default_rng(10), 40)
    nearest = np.argmin(((table["inputs"] - table["query"]) ** 2).sum(axis=1))
    shares = [
        answer(CONSTRUCTIONS["nadaraya-watson"](bandwidth=h), problem)[table["labels"][nearest]]
        for h in (1.0, 0.3, 0.1, 0.05)
    ]
    assert shares[-1] > 0.99
    assert shares[0] < 0.7


def test_pairs_of_a_table_need_no_order():
    built = CONSTRUCTIONS["mixture"](length=100)
    rng = np.random.default_rng(11)
    problem = table_pairs(rng, 50)
    shuffled = problem | {"pairs": rng.permutation(problem["pairs"]).tolist()}
    np.testing.assert_allclose(answer(built, problem), answer(built, shuffled), rtol=1e-12)
