"""A short run of scripts/fuzz: no reader and no command line ends in a traceback."""

from __future__ import annotations

import json

import fuzz_targets
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings


@pytest.mark.parametrize("name", fuzz_targets.TARGETS)
def test_random_inputs_are_understood_or_refused_in_one_line(name):
    target = fuzz_targets.TARGETS[name]

    @settings(max_examples=max(int(40 * target.share), 5), suppress_health_check=list(HealthCheck))
    @given(target.inputs)
    def each(drawn):
        assert target.check(drawn) in ("accepted", "refused")

    each()


def flipped(content, at):
    """The edit that flips the lowest bit of one byte."""
    return [("flip", (at + 0.5) / len(content), 0, b"")]


def test_a_reader_that_believes_changed_weights_is_found_out(monkeypatch):
    raw, _, honest = fuzz_targets.packed()
    edit = flipped(raw, len(raw) - 2)
    assert fuzz_targets.check_weights((False, False, edit)) == "refused"

    def believing(raw, sidecar, name):
        return honest[0], safetensors.numpy.load(raw), {}

    monkeypatch.setattr(fuzz_targets, "unpack", believing)
    with pytest.raises(AssertionError):
        fuzz_targets.check_weights((False, False, edit))


def test_a_reader_that_believes_changed_records_is_found_out(monkeypatch):
    content = fuzz_targets.recorded()
    edit = flipped(content, content.index(b'"failures":3') + len(b'"failures":'))
    assert fuzz_targets.check_records(edit) == "refused"
    monkeypatch.setattr(
        "icl_sim.storage.records.decode_line", lambda line: json.loads(line)["record"]
    )
    with pytest.raises(AssertionError):
        fuzz_targets.check_records(edit)
