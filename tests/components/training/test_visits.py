"""Which questions a step asks, in either order."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from pydantic import ValidationError

from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.visits import StepPlan, TaskVisits, task_of, visits_of
from threedrs_platform.errors import DataError
from threedrs_platform.records import Sample

PROMPTS = {"grounding": "the lamp", "captions": "describe <coord>", "answers": "what is it?"}
PAPER = {"grounding": 36_665 + 43_838, "captions": 36_665, "answers": 26_515 + 79_445}
"""Questions of the five training sets, by the task that the released sampler counts them to."""
TASKS = TrainingConfig(scenes_per_step=4, questions_per_scene=1, batches="tasks")


def sample(task: str, number: int, scene_id: str) -> Sample:
    kind = "ground" if task == "grounding" else "text"
    return Sample(f"{task}/{number}", task, scene_id, kind, PROMPTS[task])  # type: ignore[arg-type]


def samples_of(counts: dict[str, int], scenes: int = 3) -> dict[str, list[Sample]]:
    found: dict[str, list[Sample]] = defaultdict(list)
    for task, count in counts.items():
        for number in range(count):
            scene_id = f"scene{number % scenes}"
            found[scene_id].append(sample(task, number, scene_id))
    return dict(found)


def asked(samples: dict[str, list[Sample]], plan: StepPlan) -> list[Sample]:
    return [samples[visit.scene_id][row] for visit in plan.scenes for row in visit.questions]


def test_an_epoch_of_tasks_asks_every_question_once_and_drops_what_fills_no_step() -> None:
    samples = samples_of({"grounding": 10, "captions": 4, "answers": 3})
    visits = TaskVisits(samples, TASKS, 0)
    assert visits.steps_per_epoch == 3
    steps = [asked(samples, visits.plan(step)) for step in range(3)]
    assert Counter(task_of(step[0]) for step in steps) == {"grounding": 2, "captions": 1}
    for step in steps:
        assert len(step) == 4 and len({task_of(each) for each in step}) == 1
    ids = [each.sample_id for step in steps for each in step]
    assert len(set(ids)) == len(ids) == 12


def test_the_papers_training_sets_make_the_steps_that_the_released_sampler_makes() -> None:
    paper = TASKS.model_copy(update={"scenes_per_step": 16})
    samples = samples_of(PAPER, scenes=562)
    assert sum(map(len, samples.values())) == 223_128
    visits = TaskVisits(samples, paper, 42)
    assert visits.steps_per_epoch == 13_944
    epoch = [asked(samples, visits.plan(step))[0] for step in range(13_944)]
    assert Counter(map(task_of, epoch)) == {"answers": 6_622, "captions": 2_291, "grounding": 5_031}


def test_another_epoch_and_another_seed_ask_in_another_order() -> None:
    samples = samples_of({"grounding": 40, "answers": 40})
    visits = TaskVisits(samples, TASKS, 0)
    first, second = ([visits.plan(20 * epoch + step) for step in range(20)] for epoch in range(2))
    other = TaskVisits(samples, TASKS, 1)
    assert first != second
    assert first != [other.plan(step) for step in range(20)]
    assert first == [TaskVisits(samples, TASKS, 0).plan(step) for step in range(20)]


@pytest.mark.parametrize("batches", ["scenes", "tasks"])
def test_a_step_is_the_same_whoever_asks_and_whenever(batches: str) -> None:
    samples = samples_of({"grounding": 9, "captions": 9, "answers": 9})
    training = TrainingConfig.model_validate({**TASKS.model_dump(), "batches": batches})
    visits = visits_of(samples, training, 3)
    late = visits.plan(11)
    assert [visits.plan(step) for step in (0, 11)][1] == late
    assert visits_of(samples, training, 3).plan(11) == late
    assert late.num_questions == len(late.scenes) == 4


def test_scenes_mix_the_tasks_and_visit_every_scene_once_per_epoch() -> None:
    samples = samples_of({"grounding": 30, "answers": 30}, scenes=6)
    training = TrainingConfig(scenes_per_step=3, questions_per_scene=8)
    visits = visits_of(samples, training, 0)
    epoch = [visits.plan(step) for step in range(2)]
    assert sorted(visit.scene_id for plan in epoch for visit in plan.scenes) == sorted(samples)
    assert {task_of(each) for each in asked(samples, epoch[0])} == {"grounding", "answers"}


def test_steps_that_no_task_can_fill_are_refused() -> None:
    with pytest.raises(DataError, match="no task has the 4 questions of a step"):
        TaskVisits(samples_of({"grounding": 3, "answers": 3}), TASKS, 0)


def test_tasks_take_questions_one_by_one() -> None:
    with pytest.raises(ValidationError, match="questions_per_scene: 1"):
        TrainingConfig(batches="tasks", questions_per_scene=2)
