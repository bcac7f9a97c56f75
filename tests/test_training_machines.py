from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from constructions.programs import logistic_machine as fixed_point
from constructions.programs import network_machine as networks
from constructions.programs.counting_machine import counting
from constructions.programs.logistic_machine import logistic, thresholds, weight_error
from constructions.programs.network_machine import network, neural, signs, weights_at_start
from constructions.programs.perceptron_machine import perceptron, train
from constructions.programs.training_machines import TRAINING

LIMIT = 1 << 25


def answers(program, inputs, labels, queries):
    trace = program.machine.run(program.encode(inputs, labels, queries), LIMIT, record=False)
    assert trace.halted
    assert trace.state == "done"
    return program.decode(trace)


def assert_answers_as_trained(program, rng, data_sets, sizes):
    """All queries of the domain in one run, and one of them alone."""
    for _ in range(data_sets):
        inputs, labels = program.sample(rng, int(rng.choice(sizes)))
        expected = program.oracle(inputs, labels, program.domain)
        np.testing.assert_array_equal(answers(program, inputs, labels, program.domain), expected)
        one = int(rng.integers(len(program.domain)))
        alone = answers(program, inputs, labels, program.domain[one : one + 1])
        assert alone.tolist() == [expected[one]]


SMALL = {
    "counting 4 x 4": (counting(4, 4), [0, 1, 10, 40]),
    "counting 2 x 3": (counting(2, 3), [0, 5, 12]),
    "counting 5 x 2": (counting(5, 2), [3, 20]),
    "counting 3 x 1": (counting(3, 1), [2]),
    "counting 1 x 9": (counting(1, 9), [9, 30]),
    "perceptron d = 4": (perceptron(4, epochs=8), [0, 1, 6, 12]),
    "perceptron d = 3": (perceptron(3, epochs=8), [1, 6, 12]),
    "perceptron d = 2, one epoch": (perceptron(2, epochs=1), [1, 3, 6]),
    "perceptron d = 1": (perceptron(1, epochs=3), [1, 4]),
    "logistic d = 3": (logistic(3, fraction=6, rate=3, epochs=2), [0, 1, 5]),
    "logistic d = 2, one epoch": (logistic(2, fraction=5, rate=2, epochs=1), [2, 6]),
    "network d = 2, h = 4": (neural(2, units=4, epochs=2), [0, 1, 4]),
    "network d = 3, h = 2": (neural(3, units=2, epochs=1), [1, 5]),
    "network d = 1, one unit": (neural(1, units=1, epochs=3), [4]),
    "logistic d = 1, one threshold": (logistic(1, fraction=4, rate=4, epochs=3), [4]),
}


@pytest.mark.parametrize("name", SMALL)
def test_machines_answer_every_query_as_the_model_trained_directly(name):
    program, sizes = SMALL[name]
    assert_answers_as_trained(program, np.random.default_rng(len(name)), 20, sizes)


@pytest.mark.parametrize("name", SMALL)
def test_arbitrary_labels_are_learned_as_well(name):
    program, sizes = SMALL[name]
    rng = np.random.default_rng(7)
    for _ in range(5):
        inputs, labels = program.sample(rng, max(sizes))
        labels = (
            rng.permutation(labels)
            if name.startswith("counting")
            else rng.choice((-1, 1), len(labels))
        )
        expected = program.oracle(inputs, labels, program.domain)
        np.testing.assert_array_equal(answers(program, inputs, labels, program.domain), expected)


FULL = {
    "counting": (TRAINING["counting"](), 256, 1 << 19),
    "perceptron": (TRAINING["perceptron"](), 64, 1 << 22),
    "logistic": (TRAINING["logistic"](), 64, 1 << 23),
    "network": (TRAINING["network"](features=3), 16, 1 << 23),
}


@pytest.mark.parametrize("name", FULL)
def test_machines_fit_the_largest_universal_size(name):
    machine = FULL[name][0].machine
    assert len(machine.working) <= 128
    assert len(machine.alphabet) <= 8


@pytest.mark.parametrize("name", FULL)
def test_one_query_at_full_size_takes_the_steps_that_it_is_meant_to(name):
    program, n, steps = FULL[name]
    inputs, labels = program.sample(np.random.default_rng(3), n)
    query = program.domain[5:6]
    tape = program.encode(inputs, labels, query)
    trace = program.machine.run(tape, steps, record=False)
    assert trace.halted
    assert len(trace.tape) <= 1 << 15
    np.testing.assert_array_equal(program.decode(trace), program.oracle(inputs, labels, query))


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_hundred_data_sets(name):
    program, sizes = SMALL[name]
    assert_answers_as_trained(program, np.random.default_rng(11), 100, sizes)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("name", "data_sets"), [("counting", 100), ("perceptron", 20)])
def test_full_size_over_the_whole_domain(name, data_sets):
    program, n, _ = FULL[name]
    assert_answers_as_trained(program, np.random.default_rng(12), data_sets, [n])


def test_counting_breaks_ties_towards_the_smallest_output_and_knows_unseen_contexts():
    program = counting(3, 4)
    inputs, labels = np.array([0, 0, 0, 0, 2, 2, 2]), np.array([3, 1, 3, 1, 2, 3, 3])
    assert answers(program, inputs, labels, np.array([2, 1, 0, 0])).tolist() == [3, 0, 1, 1]


def test_the_perceptron_stops_at_its_cap_and_where_it_makes_no_mistake():
    two, negative = np.array([[1, 1], [1, -1]]), np.array([-1, -1])
    assert [train(two, negative, epochs).tolist() for epochs in (0, 1, 50)] == [
        [0, 0],
        [-2, 0],
        [-2, 0],
    ]
    contradiction, labels = np.array([[1], [1], [1]]), np.array([-1, 1, -1])
    assert [train(contradiction, labels, epochs).tolist() for epochs in (1, 2)] == [[-1], [-1]]
    for program, inputs, y, tallies in (
        (perceptron(2, epochs=6), two, negative, "11110_"),
        (perceptron(1, epochs=6), contradiction, labels, "00000_"),
    ):
        tape = program.encode(inputs, y, program.domain)
        trace = program.machine.run(tape, LIMIT, record=False)
        assert "".join(trace.tape).strip("_").startswith(tallies)


def test_perceptron_steps_grow_with_the_cap_only_while_it_errs():
    inputs, labels = perceptron(4).sample(np.random.default_rng(5), 10)
    long, longer = (
        p.machine.run(p.encode(inputs, labels, p.domain), LIMIT, record=False)
        for p in (perceptron(4, epochs=20), perceptron(4, epochs=40))
    )
    assert "1" in long.tape[:19]  # tallies are left
    assert longer.steps < 1.5 * long.steps


@pytest.mark.parametrize(
    ("program", "inputs", "labels", "queries", "reason"),
    [
        (counting(2, 2), [2], [0], [0], "inputs must be in 0 .. 1, got"),
        (counting(2, 2), [0], [-1], [0], "labels must be in 0 .. 1, got"),
        (counting(2, 2), [0], [0], [7], "queries must be in 0 .. 1, got"),
        (counting(2, 2), [0, 1], [0], [0], "2 inputs and 1 labels"),
        (perceptron(2), [[1, 1]], [0], [[1, 1]], "labels must be -1 or 1, got"),
        (perceptron(2), [[1, 1, 1]], [1], [[1, 1]], "inputs must be"),
        (perceptron(2), [[1, 1]], [1], [1, 1], "queries must be"),
        (logistic(2), [[1, 1]], [1, 1], [[1, 1]], "1 inputs and 2 labels"),
        (neural(2), [[1, 2]], [1], [[1, 1]], "inputs must be -1 or 1, got"),
    ],
)
def test_data_outside_the_domain_are_refused(program, inputs, labels, queries, reason):
    with pytest.raises(ValueError, match=reason):
        program.encode(np.array(inputs), np.array(labels), np.array(queries))


@pytest.mark.parametrize(
    "options",
    [
        lambda: counting(0, 2),
        lambda: counting(2, 0),
        lambda: perceptron(0),
        lambda: perceptron(2, epochs=0),
        lambda: logistic(0),
        lambda: logistic(2, epochs=0),
        lambda: logistic(2, fraction=3, rate=4),
        lambda: neural(2, units=0),
    ],
)
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValueError, match="must be at least"):
        options()


@pytest.mark.parametrize(("fraction", "rate"), [(4, 4), (4, 1), (6, 3), (10, 6)])
def test_thresholds_round_the_logistic_step_to_the_nearest_integer(fraction, rate):
    u = np.arange(-(8 << fraction), 8 << fraction)
    step = 2.0 ** (fraction - rate) / (1 + np.exp(u / 2**fraction))
    table = np.array(thresholds(fraction, rate))
    np.testing.assert_array_equal((table > u[:, None]).sum(axis=1), np.rint(step))


def test_fixed_point_sgd_is_within_its_stated_rounding_of_optax():
    features, fraction, rate, epochs = 8, 10, 6, 2
    rng = np.random.default_rng(0)
    decided = 0.0
    optimizer = optax.sgd(2.0**-rate)
    program = logistic(features, fraction, rate, epochs)

    def loss(weights, z):
        logits = jnp.stack([jnp.dot(weights, z), jnp.zeros((), weights.dtype)])
        return optax.softmax_cross_entropy_with_integer_labels(logits, 0)

    def step(weights, z):
        gradient = jax.grad(loss)(weights, z)
        updates, _ = optimizer.update(gradient, optimizer.init(weights))
        return optax.apply_updates(weights, updates), None

    train_float = jax.jit(
        lambda examples: jax.lax.scan(step, jnp.zeros(features, jnp.float64), examples)[0]
    )
    for _ in range(20):
        inputs, labels = program.sample(rng, 64)
        signed = np.tile(inputs * labels[:, None], (epochs, 1)).astype(np.float64)
        weights = np.asarray(train_float(signed))
        ours = fixed_point.train(inputs, labels, fraction=fraction, rate=rate, epochs=epochs)
        bound = weight_error(features, fraction, rate, 64 * epochs)
        assert np.linalg.norm(ours / 2**fraction - weights) <= bound
        margins = program.domain @ weights
        clear = np.abs(margins) > features**0.5 * bound
        predicted = program.oracle(inputs, labels, program.domain)
        assert (predicted == np.where(margins >= 0, 1, -1))[clear].all()
        decided += clear.mean() / 20
    assert decided > 0.5


def test_the_network_s_steps_are_those_of_automatic_differentiation():
    features, units, epochs = 3, 4, 3

    def loss(weights, x, y):
        f = jnp.dot(jnp.maximum(jnp.matmul(weights, x), 0), jnp.array(signs(units), jnp.float64))
        return jnp.maximum(-y * f, 0)

    step = jax.jit(jax.grad(loss))
    rng = np.random.default_rng(1)
    for _ in range(10):
        inputs, labels = neural(features, units=units).sample(rng, 12)
        weights = weights_at_start(features, units).astype(np.float64)
        for x, y in zip(np.tile(inputs, (epochs, 1)), np.tile(labels, epochs), strict=True):
            margins = weights @ x
            # Where neither a unit nor the network is at a kink, the gradient is the only one.
            if margins.all() and network(weights, x):
                found = weights - np.asarray(step(weights, x.astype(np.float64), float(y)))
                ours = networks.train(x[None], np.array([y]), units=units, epochs=1, start=weights)
                np.testing.assert_array_equal(ours, found)
            weights = networks.train(x[None], np.array([y]), units=units, epochs=1, start=weights)


def test_the_network_learns_a_parity_that_no_linear_model_knows():
    program = neural(2, units=4, epochs=8)
    inputs, labels = program.sample(np.random.default_rng(0), 12)
    assert len(np.unique(inputs, axis=0)) == 4
    expected = program.domain.prod(axis=1)
    assert program.oracle(inputs, labels, program.domain).tolist() == expected.tolist()


def test_a_rate_beyond_the_rounding_argument_is_refused():
    with pytest.raises(ValueError, match="expected a rate 2.-r of at most 0.5, got 1.0"):
        weight_error(16, 4, 0, 1)
