from __future__ import annotations

from threedrs_platform.compute.attempts import AttemptRequest
from threedrs_platform.compute.in_process import Handle, InProcessCompute
from threedrs_platform.states import RunState
from threedrs_platform.testing.fake_cells import chains
from threedrs_workflows.testing.engine_bench import Engine


class Counting(InProcessCompute):
    """Remembers how many attempts ran at once."""

    most = 0

    def submit(self, request: AttemptRequest) -> Handle:
        handle = super().submit(request)
        self.most = max(self.most, len(self._running))
        return handle


def most_at_once(engine: Engine, jobs: int) -> int:
    engine.compute = compute = Counting(jobs)
    assert engine.submit(chains(6, 1, "crawl", steps=2, seconds=0.02)) is RunState.SUCCEEDED
    return compute.most


def test_no_more_attempts_begin_in_one_turn_than_there_is_room_for(engine: Engine) -> None:
    assert most_at_once(engine, 1) == 1


def test_all_room_is_used(engine: Engine) -> None:
    assert most_at_once(engine, 2) == 2
