"""A short run of scripts/fuzz: no reader and no command line ends in a traceback."""

from __future__ import annotations

import fuzz_targets
import pytest
from hypothesis import HealthCheck, given, settings


@pytest.mark.parametrize("name", fuzz_targets.TARGETS)
def test_random_inputs_are_understood_or_refused_in_one_line(name):
    target = fuzz_targets.TARGETS[name]

    @settings(max_examples=max(int(40 * target.share), 5), suppress_health_check=list(HealthCheck))
    @given(target.inputs)
    def each(drawn):
        assert target.check(drawn) in ("accepted", "refused")

    each()


@pytest.mark.parametrize("name", ["weights and sidecars", "records"])
def test_a_reader_that_believes_everything_is_found_out(name, monkeypatch):
    if name == "records":
        monkeypatch.setattr("icl_sim.storage.records.zlib.crc32", lambda body: 0)
        fuzz_targets.recorded.cache_clear()
    else:
        monkeypatch.setattr("icl_sim.storage.weights.sealed", lambda about: about.get("name"))
        fuzz_targets.packed.cache_clear()
    with pytest.raises(AssertionError):
        test_random_inputs_are_understood_or_refused_in_one_line(name)
