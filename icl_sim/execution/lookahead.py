"""What another thread does meanwhile: the next item of an iterator, or a job beside this one."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")


def ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The items, each of them made in another thread while the one before it is used.

    >>> list(ahead(iter(range(3))))
    [0, 1, 2]
    """
    rest, none = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, rest, none)
        while (item := coming.result()) is not none:
            coming = pool.submit(next, rest, none)
            yield item  # type: ignore[misc]


class _Stopped(BaseException):
    """Ends a job beside a block that failed; no handler of errors takes it for one."""


@dataclass(frozen=True)
class Beside(Generic[Item]):
    """A job that runs meanwhile.

    Attributes:
      result: waits for what it returns; raises what it raises.
      check: raises what it has raised already.
    """

    result: Callable[[], Item]
    check: Callable[[], None] = lambda: None


@contextlib.contextmanager
def beside(
    job: Callable[[Callable[[], None]], Item], *, alone: bool = False
) -> Iterator[Beside[Item]]:
    """Runs ``job`` in another thread beside the block, which may ask for its result.

    If the block fails, by Ctrl-C too, the job ends at its next call of what it is given. What
    memory is guarded each of both may ask for.

    Args:
      job: called with a function that it has to call now and then.
      alone: run it in this thread instead, once its result is asked for.

    >>> with beside(lambda go_on: 6 * 7) as other:
    ...     other.result()
    42
    """
    failed = threading.Event()

    def go_on() -> None:
        if failed.is_set():
            raise _Stopped

    if alone:
        yield Beside(lambda: job(go_on))
        return
    with ThreadPoolExecutor(1) as pool:
        future: Future[Item] = pool.submit(job, go_on)

        def check() -> None:
            if future.done():
                future.result()

        try:
            yield Beside(future.result, check)
        except BaseException:
            failed.set()
            raise
