"""The main job, cut to three exact statements and one table: two threads do what one does."""

from __future__ import annotations

import time

import jax
import pytest

from icl_sim import reproduction
from icl_sim.claims import judge, select
from icl_sim.reproduction.jobs import Job
from icl_sim.storage.json_form import json_form
from icl_sim.storage.records import digest
from icl_sim.storage.result_store import MemoryStore
from icl_sim.training.run_results import FineTuning

IDS = ("C4.statistic", "C2.contexts", "C4.finite")
TABLE = Job("tables", {"sizes": (16,), "tasks": 1, "predictors": ("counts",)})
PATH = FineTuning("english", (16,), 1, "full", [0], {}, {})


@pytest.fixture(autouse=True)
def short(monkeypatch):
    def judged(names, **options):
        return judge(names or IDS, **options)

    monkeypatch.setattr(reproduction, "select", lambda names: select(IDS))
    monkeypatch.setattr(reproduction, "judge", judged)
    monkeypatch.setattr(reproduction, "comparison_jobs", lambda profile: (TABLE,))
    monkeypatch.setattr(reproduction, "collapse_jobs", lambda profile: (TABLE,))
    monkeypatch.setattr(reproduction, "_path", lambda *_: json_form(PATH))


def done(monkeypatch, *, one_thread):
    """What is found, the records, and how far the job was seen to be."""
    store, seen = MemoryStore(), []

    def progress(label, count, total):
        if label == "all":
            seen.append((count, total))

    monkeypatch.setattr(reproduction, "_one_thread", lambda: one_thread)
    found = reproduction._reproduced(profile="smoke", seed=0, store=store, progress=progress)
    return found, store.records(), seen


def test_two_threads_find_and_record_what_one_does(monkeypatch):
    (one, records, seen), (two, same, _) = (done(monkeypatch, one_thread=x) for x in (True, False))
    assert [record.key for record in same] == [record.key for record in records]
    assert digest(same) == digest(records) == one.audit.digest == two.audit.digest
    assert {s.statement.id for s in two.audit.statements} == set(IDS)
    assert (one.comparisons, one.collapse, one.training) == (
        two.comparisons,
        two.collapse,
        two.training,
    )
    assert len(two.comparisons) == len(two.collapse) == 1
    assert two.training == (PATH,)
    assert seen[0] == (0, 6)
    assert max(seen) == (6, 6)


def test_what_fails_beside_the_audit_ends_it_before_its_next_statement(monkeypatch):
    def broken(*_, **__):
        raise ValueError("no table")

    def endless(names, *, progress, **_):
        for _ in range(1000):
            progress("statements", 0, len(IDS))
            time.sleep(0.01)
        pytest.fail("the audit went on")

    monkeypatch.setattr(reproduction, "compare", broken)
    monkeypatch.setattr(reproduction, "judge", endless)
    with pytest.raises(ValueError, match="no table"):
        done(monkeypatch, one_thread=False)


@pytest.mark.parametrize(
    "context",
    [
        lambda: jax.enable_x64(not jax.config.jax_enable_x64),
        lambda: jax.default_prng_impl("rbg"),
        lambda: jax.default_device(jax.devices()[0]),
    ],
)
def test_settings_of_one_thread_are_not_shared(context):
    assert reproduction._shared_settings()
    with context():
        assert not reproduction._shared_settings()
