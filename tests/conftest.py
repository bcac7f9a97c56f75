"""A hostile environment: x64, no rank promotion, no key reuse, warnings are errors."""

from __future__ import annotations

import os
import signal

os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
# Compiled programs are shared where scripts/test names a directory, never with the user's own.
os.environ.setdefault("ICL_SIM_COMPILED", "off")

import hypothesis
import jax
import pytest

from icl_sim.execution.compilation_cache import keep_compiled

# In the background of a shell Ctrl-C is ignored, by all that the tests start too.
signal.signal(signal.SIGINT, signal.default_int_handler)
keep_compiled()
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_debug_key_reuse", True)
hypothesis.settings.register_profile("fixed", deadline=None, derandomize=True)
hypothesis.settings.load_profile("fixed")


@pytest.fixture
def run(tmp_path):
    """What an experiment of a statement gets: smoke, the key of seed 0, an empty store."""
    from icl_sim.claims.claim import Run
    from icl_sim.execution.progress import quiet
    from icl_sim.storage.store import Store

    with Store(tmp_path / "run", config={}) as store:
        yield Run("smoke", jax.random.key(0), store, quiet)


@pytest.fixture
def two_gib(monkeypatch):
    """The memory that a request may take."""
    from icl_sim.execution.memory_guard import VARIABLE

    monkeypatch.setenv(VARIABLE, "2GiB")


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the tests marked slow as well")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow: run scripts/test --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)
