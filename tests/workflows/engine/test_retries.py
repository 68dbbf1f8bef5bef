import pytest

from threedrs_platform.states import FailureClass
from threedrs_platform.testing.fake_cells import fake_step
from threedrs_workflows.engine.retries import RetryPolicy, halve_micro_batch

SPEC = fake_step(params={"training": {"scenes_per_step": 8}})
SETTINGS = {"training": {"gradient_accumulation": 1, "workers": 2}, "other": 1}


@pytest.mark.parametrize(
    ("failure", "count"),
    [
        (FailureClass.BUG, 0),
        (FailureClass.DATA, 0),
        (FailureClass.STORAGE, 0),
        (FailureClass.OOM, 2),
        (FailureClass.INFRA, 3),
    ],
)
def test_each_class_of_failure_has_its_number_of_retries(failure: FailureClass, count: int) -> None:
    policy = RetryPolicy()
    decisions = [policy.decide(SPEC, "key", failure, {}) for _ in range(5)]
    assert [decision is not None for decision in decisions] == [i < count for i in range(5)]


def test_waits_before_infrastructure_retries_double() -> None:
    policy = RetryPolicy(backoff_s=2.0)
    decisions = [policy.decide(SPEC, "key", FailureClass.INFRA, {}) for _ in range(3)]
    assert [each.delay_s for each in decisions if each] == [2.0, 4.0, 8.0]


def test_steps_are_counted_apart() -> None:
    policy = RetryPolicy(retries={FailureClass.OOM: 1})
    assert policy.decide(SPEC, "a", FailureClass.OOM, {})
    assert policy.decide(SPEC, "b", FailureClass.OOM, {})


def test_out_of_memory_halves_the_micro_batch_at_the_same_batch() -> None:
    retry = RetryPolicy().decide(SPEC, "key", FailureClass.OOM, SETTINGS)
    assert retry is not None
    assert retry.settings == {"training": {"gradient_accumulation": 2, "workers": 2}, "other": 1}
    assert "halved" in retry.note


@pytest.mark.parametrize("rounds", [3, 4, 8])
def test_a_batch_that_cannot_be_cut_evenly_is_left(rounds: int) -> None:
    settings = {"training": {"gradient_accumulation": rounds, "workers": 2}}
    assert halve_micro_batch(SPEC.params, settings) is None


def test_a_step_without_batches_is_just_tried_again() -> None:
    retry = RetryPolicy().decide(fake_step(), "key", FailureClass.OOM, {})
    assert retry is not None and retry.settings == {}
