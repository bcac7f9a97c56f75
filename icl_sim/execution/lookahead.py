"""Items of an iterator, made in another thread while those before them are used."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

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
