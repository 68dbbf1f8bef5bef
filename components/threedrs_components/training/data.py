"""What each training step sees: a pure function of seed and step, whoever asks."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from threedrs_components.objectives.objective import Objective
from threedrs_components.scenes.ahead import ahead
from threedrs_components.scenes.prepared import PreparedScene, PreparedScenes
from threedrs_components.students.batches import (
    Question,
    SceneBatch,
    collate,
    object_candidates,
    training_question,
)
from threedrs_components.students.guidance import Guidance
from threedrs_components.students.passes import Frames
from threedrs_components.students.tokenizer import Encoded, StudentTokenizer
from threedrs_components.teachers.maps import TeacherMap, stacked
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.visits import ScenePlan, StepPlan, Visits, visits_of
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.records import Sample

MAX_SCENES_HELD = 128


@dataclass(frozen=True)
class SceneData:
    """All that training reads of one scene."""

    prepared: PreparedScene
    questions: tuple[Question, ...]
    targets: Mapping[str, Any]
    """By objective, what it compares the scene with"""
    guidance: TeacherMap | None = None
    """What a student with fusion reads beside the frames"""


@dataclass(frozen=True)
class MicroBatch:
    """What one worker computes in one accumulation round."""

    batch: SceneBatch
    targets: Mapping[str, Any] = field(default_factory=dict)
    """By objective, what it compares the scenes with"""
    seeds: tuple[int, ...] = ()
    """By scene, for what objectives draw"""


@dataclass(frozen=True)
class Round:
    """One accumulation round of a step, on one worker."""

    plan: StepPlan
    """Of the whole step"""
    micro: MicroBatch


class TrainingData:
    """Scenes, questions and targets by step."""

    def __init__(
        self,
        prepared: PreparedScenes,
        samples: Mapping[str, Sequence[Sample]],
        tokenizer: StudentTokenizer,
        training: TrainingConfig,
        seed: int,
        *,
        objectives: Sequence[Objective] = (),
        guidance: Guidance | None = None,
        blind: bool = False,
        pinned: bool = False,
    ) -> None:
        self.pinned = pinned
        self.prepared, self.samples, self.tokenizer = prepared, samples, tokenizer
        self.training, self.seed, self.blind = training, seed, blind
        self.objectives, self.guidance = tuple(objectives), guidance
        self._held: OrderedDict[str, SceneData] = OrderedDict()

    def plan(self, step: int) -> StepPlan:
        """Scenes and questions of a step."""
        return self._visits.plan(step)

    @cached_property
    def _visits(self) -> Visits:
        """Made when first asked for: validation has no steps."""
        return visits_of(self.samples, self.training, self.seed)

    def rounds(self, first: int, rank: int, world: int) -> Generator[Round, None, None]:
        """This worker's rounds from a step on, read ahead, as many for each step as it accumulates.

        A thread makes them: until the generator is closed, nobody else may ask anything of this.
        """
        rounds = self.training.rounds(world)
        places = ((step, at) for step in range(first, self.training.steps) for at in range(rounds))
        return ahead(lambda place: self._round(*place, rank, world), places)

    def batches(self, visits: Sequence[ScenePlan]) -> Generator[MicroBatch, None, None]:
        """A batch for each visit, read ahead as `rounds` are."""
        return ahead(lambda visit: self.assemble([visit]), visits)

    def _round(self, step: int, index: int, rank: int, world: int) -> Round:
        plan = self.plan(step)
        own = plan.scenes[rank::world]
        size = len(own) // self.training.rounds(world)
        return Round(plan, self.assemble(own[index * size : (index + 1) * size], step))

    def assemble(self, visits: Sequence[ScenePlan], step: int | None = None) -> MicroBatch:
        """Collate scenes with their chosen questions, for a step of training or for none."""
        data = [self.scene(visit.scene_id) for visit in visits]
        batch = collate(
            [item.prepared for item in data],
            [
                [item.questions[row] for row in visit.questions]
                for item, visit in zip(data, visits, strict=True)
            ],
            [object_candidates(item.prepared) for item in data],
            self.tokenizer,
            self.blind,
        )
        if self.training.shuffle_frames:
            order = torch.stack(
                [self._order(visit, len(batch.frames.images[0])) for visit in visits]
            )
            batch = replace(batch, frames=replace(batch.frames, order=order))
        if maps := [item.guidance for item in data if item.guidance is not None]:
            batch = replace(batch, frames=replace(batch.frames, guidance=stacked(maps)))
        if step is not None and (hidden := self._hidden(step, visits, batch.frames)) is not None:
            batch = replace(batch, frames=replace(batch.frames, hidden=hidden))
        targets = {
            each.name: each.collate([item.targets[each.name] for item in data])
            for each in self.objectives
            if each.has_target
        }
        seeds = tuple(random.Random(f"{visit.place}/seed").getrandbits(63) for visit in visits)
        return MicroBatch(batch.pinned() if self.pinned else batch, targets, seeds)

    def scene(self, scene_id: str) -> SceneData:
        """One scene, read once while it stays among the most recent."""
        if scene_id in self._held:
            self._held.move_to_end(scene_id)
            return self._held[scene_id]
        prepared = self.prepared[scene_id]
        data = SceneData(
            prepared,
            tuple(
                training_question(sample, prepared, self.tokenizer, self._mark)
                for sample in self.samples[scene_id]
            ),
            {each.name: each.target(prepared) for each in self.objectives if each.has_target},
            None if self.guidance is None else self.guidance.of(prepared),
        )
        self._held[scene_id] = data
        if len(self._held) > MAX_SCENES_HELD:
            self._held.popitem(last=False)
        return data

    def _mark(self, question: Encoded) -> Encoded:
        """The tokens that some objective learns."""
        for each in self.objectives:
            question = each.mark(question)
        return question

    def _hidden(self, step: int, visits: Sequence[ScenePlan], frames: Frames) -> Tensor | None:
        """[S, F] frames that some objective hides in this step, if one does."""
        num_frames = frames.images.shape[1]
        all_seen = (False,) * num_frames
        rows = [
            [each.hides(step, visit.place, num_frames) or all_seen for each in self.objectives]
            for visit in visits
        ]
        hidden = torch.tensor([[any(frame) for frame in zip(*row, strict=True)] for row in rows])
        return hidden if hidden.any() else None

    def _order(self, visit: ScenePlan, num_frames: int) -> Tensor:
        order = list(range(num_frames))
        random.Random(f"{visit.place}/frames").shuffle(order)
        return torch.tensor(order)


def check_shares(training: TrainingConfig, world: int) -> None:
    """Every worker must get equally many scenes in every accumulation round.

    Raises:
        ConfigError: it does not work out.
    """
    rounds = training.rounds(world)
    parts = world * rounds
    if training.scenes_per_step % parts:
        message = (
            f"{training.scenes_per_step} does not divide into {world} workers x "
            f"{rounds} accumulation rounds; use a multiple of {parts}"
        )
        raise ConfigError([Fault(message, path="training.scenes_per_step")])
