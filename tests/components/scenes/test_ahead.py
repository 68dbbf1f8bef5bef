"""A thread makes what comes next: in order, a bounded number ahead, and it ends."""

from __future__ import annotations

import threading
from collections.abc import Generator
from pathlib import Path

import pytest
import torch

from threedrs_components.scenes.ahead import ahead, behind, in_memory
from threedrs_components.scenes.prepared import PreparedScenes, write_prepared
from threedrs_components.testing.synthetic import random_scene

WAIT_S = 10.0


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name.startswith("ahead")]


def test_things_come_in_their_order_from_one_other_thread() -> None:
    made = list(ahead(lambda item: (item, threading.current_thread().name), range(9)))
    assert [item for item, _ in made] == list(range(9))
    assert len({name for _, name in made}) == 1
    assert made[0][1] != threading.current_thread().name
    assert not threads()


def test_no_more_than_the_depth_is_made_ahead() -> None:
    begun: list[int] = []
    third = threading.Event()

    def make(item: int) -> int:
        begun.append(item)
        if item == 2:
            third.set()
        return item

    made = ahead(make, range(100), depth=2)
    next(made)
    assert third.wait(WAIT_S)
    made.close()
    assert begun == [0, 1, 2]
    assert not threads()


def test_an_error_comes_out_where_its_thing_would_have() -> None:
    made = ahead(lambda item: 12 // item, [3, 2, 0, 1])
    assert [next(made), next(made)] == [4, 6]
    with pytest.raises(ZeroDivisionError):
        next(made)
    assert not threads()
    with pytest.raises(StopIteration):
        next(made)


def test_what_is_made_is_written_while_the_next_is_made_and_nobody_runs_away() -> None:
    made: list[int] = []
    may_write = threading.Event()
    is_closed = threading.Event()

    def make() -> Generator[int, None, None]:
        try:
            for item in range(9):
                made.append(item)
                if item == 1:  # made while the first waits for its disk
                    may_write.set()
                yield item
        finally:
            is_closed.set()

    def write(item: int) -> tuple[int, str]:
        assert may_write.wait(WAIT_S)
        return item, threading.current_thread().name

    written = behind(write, make())
    first, writer = next(written)
    assert (first, made) == (0, [0, 1]) and writer != threading.current_thread().name
    assert [item for item, _ in written] == list(range(1, 9))
    assert is_closed.is_set() and not threads()


def test_what_cannot_be_written_ends_the_work_on_what_follows() -> None:
    written = behind(lambda item: 12 // item, (item for item in [3, 0, 1]))
    assert next(written) == 4
    with pytest.raises(ZeroDivisionError):
        next(written)
    assert not threads()


def test_what_was_made_before_a_failure_is_written() -> None:
    written: list[int] = []

    def make() -> Generator[int, None, None]:
        yield from (1, 2, 3)
        raise ValueError("the fourth")

    with pytest.raises(ValueError, match="the fourth"):
        list(behind(written.append, make()))
    assert written == [1, 2, 3]


def test_a_scene_in_memory_outlives_its_file(tmp_path: Path) -> None:
    scene = random_scene("a", 0)
    path = write_prepared(scene, tmp_path)
    mapped = PreparedScenes(tmp_path)["a"]
    read = in_memory(mapped)
    path.write_bytes(bytes(path.stat().st_size))
    assert torch.equal(read.images, scene.images)
    assert torch.equal(read.proposal_weights, scene.proposal_weights)
