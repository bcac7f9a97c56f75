"""A job in another thread: beside a block that succeeds, beside one that fails, and alone."""

from __future__ import annotations

import threading

import pytest

from icl_sim.execution.lookahead import beside


def test_a_job_runs_beside_the_block_and_gives_its_result_when_asked():
    met = threading.Barrier(2, timeout=10)
    with beside(lambda go_on: met.wait() >= 0) as other:
        met.wait()  # neither goes on without the other
        assert other.result() is True


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_block_that_fails_ends_the_job_at_its_next_call(error):
    started, ended = threading.Event(), threading.Event()

    def job(go_on):
        try:
            while True:
                started.set()
                go_on()
        finally:
            ended.set()

    def block():
        with beside(job):
            assert started.wait(10)
            raise error

    with pytest.raises(error):
        block()
    assert ended.is_set()


@pytest.mark.parametrize("ask", ["result", "check"])
def test_what_a_job_raises_is_raised_where_it_is_asked_for(ask):
    met = threading.Barrier(2, timeout=10)

    def job(go_on):
        met.wait()
        raise ValueError("no")

    def block():
        with beside(job) as other:
            other.check()  # nothing yet
            met.wait()
            while True:
                getattr(other, ask)()

    with pytest.raises(ValueError, match="no"):
        block()


def test_alone_it_runs_in_the_same_thread_once_it_is_asked_for():
    threads = []
    with beside(lambda go_on: threads.append(threading.current_thread()), alone=True) as other:
        assert not threads
        other.result()
    assert threads == [threading.current_thread()]
