"""C1.network: a network that was really fine-tuned, and too few demonstrations of it."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest

from icl_sim.claims import networks
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


def test_a_language_model_is_among_the_networks_where_there_is_one(run, monkeypatch):
    law = [[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]]
    answer = {"law": law, "moved": 0.5, "error": 0.02}
    monkeypatch.setattr(networks, "fine_tuned_language_model", lambda index, key: answer)
    monkeypatch.setattr(networks, "_installed", lambda: True)
    monkeypatch.setitem(NETWORKS, "standard", 0)
    monkeypatch.setitem(networks.REPLICATES, "standard", networks.REPLICATES["smoke"])
    found = network_experiment(replace(run, profile="standard"))
    assert found.verdict == HOLDS
    assert "smollm2 among them" in found.why
    assert found.figures["sampled"][0]["id"].startswith("smollm2 0/lookup/")


def test_without_one_the_base_answers_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("ICL_SIM_CACHE", str(tmp_path))
    assert not networks._installed()


@pytest.mark.slow
def test_smollm2_moves_to_its_examples():
    if not networks._installed():
        pytest.skip("scripts/smollm2 was not run")
    found = networks.fine_tuned_language_model(0, jax.random.key(0))
    assert found["moved"] > 0.1
    assert found["error"] < 0.1
