"""A thread reads what comes next, or writes what came before, while the caller works."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TypeVar

from torch import Tensor

from threedrs_components.scenes.prepared import PreparedScene

DEPTH = 2
"""Things that lie ready at most, beside the one that the caller has."""
T = TypeVar("T")
U = TypeVar("U")


def ahead(
    make: Callable[[T], U], items: Iterable[T], depth: int = DEPTH
) -> Generator[U, None, None]:
    """`make` of each item, in their order, made by one thread.

    An exception comes out where its item would have. The thread ends with the generator: close it,
    or use it up.
    """
    waiting: deque[Future[U]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        try:
            for item in items:
                waiting.append(thread.submit(make, item))
                if len(waiting) > depth:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


def behind(write: Callable[[T], U], items: Generator[T, None, None]) -> Generator[U, None, None]:
    """`write` of each item, in their order, by one thread while the next item is made.

    A disk that syncs, or one over a network, keeps nobody waiting. An exception of `write` comes
    out in the place of what it returns; at most two items are made that are not written yet.
    """
    failed: list[Exception] = []

    def made() -> Generator[T, None, None]:
        try:
            yield from items
        except Exception as error:  # what was made before it is written all the same
            failed.append(error)

    with closing(items), closing(ahead(write, made(), depth=1)) as written:
        yield from written
    if failed:
        raise failed[0]


def in_memory(scene: PreparedScene) -> PreparedScene:
    """The scene read whole: its tensors are mapped from a file, and else read when first used."""
    read = {
        field.name: getattr(scene, field.name).clone()
        for field in dataclasses.fields(scene)
        if isinstance(getattr(scene, field.name), Tensor)
    }
    return dataclasses.replace(scene, **read)
