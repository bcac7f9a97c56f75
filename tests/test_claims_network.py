"""C1.network: a network that was really fine-tuned, and too few demonstrations of it."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from icl_sim.claims.claim import FALSE, HOLDS
from icl_sim.claims.networks import ANSWERS, NETWORKS, fine_tuned_network, network_experiment


@pytest.fixture
def run(run, monkeypatch):
    """A run of one network; `verify` has more."""
    monkeypatch.setitem(NETWORKS, "smoke", 1)
    return run


def test_the_size_is_enough_for_what_a_network_was_tuned_to(run):
    found = network_experiment(run)
    assert found.verdict == HOLDS
    networks = found.figures["networks"]
    assert len(networks) == NETWORKS["smoke"]
    for network in networks:
        assert network["moved"] > 0.1
        assert network["error"] < 0.1  # it fits its examples
        assert network["attention"] > 1e-3
        np.testing.assert_allclose(np.sum(network["law"], axis=1), 1, atol=1e-6)
    assert {cell["id"].split("/")[1] for cell in found.figures["sampled"]} == set(ANSWERS)


def test_few_demonstrations_are_not_enough(run):
    assert network_experiment(run, size=lambda **_: 4).verdict == FALSE


def test_a_network_is_its_index_and_key():
    first, again, other = (fine_tuned_network(0, jax.random.key(seed))["law"] for seed in (0, 0, 1))
    assert first == again
    assert first != other
