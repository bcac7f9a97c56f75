"""A short run of scripts/fuzz: no reader and no command line ends in a traceback."""

from __future__ import annotations

import json

import fuzz_targets
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from safetensors import SafetensorError


@pytest.mark.parametrize("name", fuzz_targets.TARGETS)
def test_random_inputs_are_understood_or_refused_in_one_line(name):
    target = fuzz_targets.TARGETS[name]

    @settings(max_examples=max(int(40 * target.share), 5), suppress_health_check=list(HealthCheck))
    @given(target.inputs)
    def each(drawn):
        assert target.check(drawn) in ("accepted", "refused")

    each()


def believing_weights(raw, sidecar, name):
    about = json.loads(sidecar)
    return about["spec"], safetensors.numpy.load(raw), about


def believing_line(line):
    return json.loads(line)["record"]


@pytest.mark.parametrize(
    ("name", "place", "believer"),
    [
        ("weights and sidecars", "fuzz_targets.unpack", believing_weights),
        ("records", "icl_sim.storage.records.decode_line", believing_line),
    ],
)
def test_a_reader_that_believes_everything_is_found_out(name, place, believer, monkeypatch):
    fuzz_targets.packed()
    fuzz_targets.recorded()
    monkeypatch.setattr(place, believer)
    with pytest.raises((AssertionError, ValueError, KeyError, TypeError, SafetensorError)):
        test_random_inputs_are_understood_or_refused_in_one_line(name)
