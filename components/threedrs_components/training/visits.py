"""Which scenes and questions each training step visits: pure functions of seed and step."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from threedrs_components.students.tokenizer import COORD
from threedrs_components.training.config import TrainingConfig
from threedrs_platform.errors import DataError
from threedrs_platform.records import Sample

Samples = Mapping[str, Sequence[Sample]]
"""Training samples by scene."""
Task = Literal["grounding", "captions", "answers"]


@dataclass(frozen=True)
class ScenePlan:
    """One visit to a scene."""

    scene_id: str
    questions: tuple[int, ...]
    """Rows of the scene's questions"""
    place: str
    """Names this visit among all of the training"""


@dataclass(frozen=True)
class StepPlan:
    """Scenes of one optimizer step, over all workers."""

    scenes: tuple[ScenePlan, ...]

    @property
    def num_questions(self) -> int:
        """Questions of the whole step."""
        return sum(len(visit.questions) for visit in self.scenes)


class Visits(Protocol):
    """An endless order of visits."""

    def plan(self, step: int) -> StepPlan:
        """What a step visits, whoever asks and whenever."""
        ...


class SceneVisits:
    """Epochs of a shuffled scene list; every visit draws some of its scene's questions anew."""

    def __init__(self, samples: Samples, training: TrainingConfig, seed: int) -> None:
        self._samples, self._scene_ids = samples, sorted(samples)
        self._size, self._most = training.scenes_per_step, training.questions_per_scene
        self._seed = seed

    def plan(self, step: int) -> StepPlan:
        """The next scenes of the sequence."""
        first = step * self._size
        return StepPlan(tuple(self._visit(first + place) for place in range(self._size)))

    def _scene_at(self, place: int) -> str:
        """The scene at a place of the endless sequence of shuffled epochs."""
        epoch, index = divmod(place, len(self._scene_ids))
        order = list(self._scene_ids)
        random.Random(f"{self._seed}/epoch/{epoch}").shuffle(order)
        return order[index]

    def _visit(self, place: int) -> ScenePlan:
        """The visit at a place of that sequence; questions without repetition, in file order."""
        scene_id, name = self._scene_at(place), f"{self._seed}/visit/{place}"
        available = len(self._samples[scene_id])
        chosen = random.Random(name).sample(range(available), min(available, self._most))
        return ScenePlan(scene_id, tuple(sorted(chosen)), name)


class TaskVisits:
    """As released: an epoch asks every question once, and a step those of one task.

    So all workers of a step compute the same losses. What is left over when the questions of a
    task are cut into steps is dropped, anew in every epoch.
    """

    def __init__(self, samples: Samples, training: TrainingConfig, seed: int) -> None:
        self._size, self._seed = training.scenes_per_step, seed
        self._tasks: dict[Task, list[tuple[str, int]]] = defaultdict(list)
        for scene_id in sorted(samples):
            for row, sample in enumerate(samples[scene_id]):
                self._tasks[task_of(sample)].append((scene_id, row))
        self.steps_per_epoch = sum(len(each) // self._size for each in self._tasks.values())
        if not self.steps_per_epoch:
            raise DataError(
                f"training.batches: no task has the {self._size} questions of a step; lower "
                "training.scenes_per_step, or set training.batches: scenes"
            )
        self._epoch: tuple[int, list[tuple[tuple[str, int], ...]]] = (-1, [])

    def plan(self, step: int) -> StepPlan:
        """The next questions of one task, one visit for each."""
        epoch, place = divmod(step, self.steps_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._steps_of(epoch))
        return StepPlan(
            tuple(
                ScenePlan(scene_id, (row,), f"{self._seed}/step/{step}/{index}")
                for index, (scene_id, row) in enumerate(self._epoch[1][place])
            )
        )

    def _steps_of(self, epoch: int) -> list[tuple[tuple[str, int], ...]]:
        chance, size = random.Random(f"{self._seed}/epoch/{epoch}"), self._size
        steps = []
        for task in sorted(self._tasks):
            order = list(self._tasks[task])
            chance.shuffle(order)
            starts = range(0, len(order) - size + 1, size)
            steps += [tuple(order[start : start + size]) for start in starts]
        chance.shuffle(steps)
        return steps


def task_of(sample: Sample) -> Task:
    """The released sampler's group: objects to find, objects to describe, questions to answer."""
    if sample.kind == "ground":
        return "grounding"
    return "captions" if COORD in sample.prompt else "answers"


def visits_of(samples: Samples, training: TrainingConfig, seed: int) -> Visits:
    """The order that the configuration asks for.

    Raises:
        DataError: no task has enough questions for a step.
    """
    kind = TaskVisits if training.batches == "tasks" else SceneVisits
    return kind(samples, training, seed)
