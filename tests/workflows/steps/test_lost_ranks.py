"""What the loss of a rank of a worker group counts as."""

from __future__ import annotations

import pytest

from threedrs_platform.errors import SceneError, StepFailed
from threedrs_platform.memory import MemoryMarks
from threedrs_workflows.steps import ray_training
from threedrs_workflows.steps.ray_training import cause_of_loss

QUIET = MemoryMarks(of_machine=2)


class ActorDiedError(Exception):
    """As Ray's own."""

    __module__ = "ray.exceptions"


DIED = ActorDiedError("The actor died unexpectedly.\nits id is 7")
PEER = RuntimeError("[gloo] Connection closed by peer [10.0.0.2]:3302")
BUG = ValueError("shapes do not fit")


@pytest.fixture(autouse=True)
def counters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_training, "memory_marks", lambda: QUIET)


@pytest.mark.parametrize("failures", [{0: PEER, 1: DIED}, {1: DIED}])
def test_a_lost_rank_is_infrastructure(failures: dict[int, BaseException]) -> None:
    cause = cause_of_loss(failures, QUIET)
    assert isinstance(cause, StepFailed) and cause.failure == "infra"
    assert "rank 1 of the training was lost: ActorDiedError: The actor died unexp" in str(cause)


def test_ranks_that_miss_a_peer_are_no_bug() -> None:
    cause = cause_of_loss({0: PEER, 2: PEER}, QUIET)
    assert isinstance(cause, StepFailed) and cause.failure == "infra"


def test_a_rank_lost_when_the_kernel_killed_for_memory_met_its_end() -> None:
    cause = cause_of_loss({1: DIED}, MemoryMarks(of_machine=1))
    assert isinstance(cause, StepFailed) and cause.failure == "oom"


@pytest.mark.parametrize("own", [SceneError("attic", "is haunted"), MemoryError(), BUG])
def test_the_error_of_a_rank_goes_before_what_it_does_to_the_others(own: Exception) -> None:
    assert cause_of_loss({0: PEER, 3: own}, QUIET) is own
