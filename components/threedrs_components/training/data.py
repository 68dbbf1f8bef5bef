"""What each training step sees: a pure function of seed and step, whoever asks."""

from __future__ import annotations

import random
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
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
from threedrs_components.training.held_scenes import GIB, Held, tensor_bytes
from threedrs_components.training.visits import ScenePlan, StepPlan, Visits, visits_of
from threedrs_platform.errors import (
    ConfigError,
    DataError,
    Fault,
    SceneError,
    StepFailed,
    ThreedrsError,
)
from threedrs_platform.memory import is_out_of_memory
from threedrs_platform.records import Sample

TOKEN_BYTES = 48
"""An int of Python, and the places in two tuples."""


@dataclass(frozen=True)
class SceneData:
    """All that training reads of one scene."""

    prepared: PreparedScene
    """Without `pairs`: what compares scenes by them has them among its targets."""
    questions: tuple[Question, ...]
    targets: Mapping[str, Any]
    """By objective, what it compares the scene with"""
    guidance: TeacherMap | None = None
    """What a student with fusion reads beside the frames"""

    @property
    def nbytes(self) -> int:
        """Of its tensors, arrays and tokens."""
        tokens = sum(len(each.encoded.ids) for each in self.questions)
        return tensor_bytes((self.prepared, self.targets, self.guidance)) + TOKEN_BYTES * tokens


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
        memory_share: float = 1.0,
    ) -> None:
        """Open nothing yet.

        Args:
            prepared: the scenes.
            samples: about them, by scene.
            tokenizer: of the student.
            training: how much a step visits, and how much is held and read ahead.
            seed: of the visits.
            objectives: whose targets are read, too.
            guidance: what a student with fusion reads beside the frames.
            blind: the student sees no frame.
            pinned: batches lie in memory that a GPU copies from while it computes.
            memory_share: of `training.scene_memory_gib`, where others hold scenes besides.
        """
        self.pinned = pinned
        self.prepared, self.samples, self.tokenizer = prepared, samples, tokenizer
        self.training, self.seed, self.blind = training, seed, blind
        self.objectives, self.guidance = tuple(objectives), guidance
        self._held = Held[SceneData](training.scene_memory_gib * GIB * memory_share)

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
        depth = self.training.rounds_ahead
        return ahead(lambda place: self._round(*place, rank, world), places, depth)

    def batches(self, visits: Sequence[ScenePlan]) -> Generator[MicroBatch, None, None]:
        """A batch for each visit, read ahead as `rounds` are."""
        return ahead(lambda visit: self.assemble([visit]), visits, self.training.rounds_ahead)

    def _round(self, step: int, index: int, rank: int, world: int) -> Round:
        plan = self.plan(step)
        own = plan.scenes[rank::world]
        size = len(own) // self.training.rounds(world)
        return Round(plan, self.assemble(own[index * size : (index + 1) * size], step))

    def assemble(self, visits: Sequence[ScenePlan], step: int | None = None) -> MicroBatch:
        """Collate scenes with their chosen questions, for a step of training or for none.

        Raises:
            DataError: of a scene that cannot be used; it and whatever is unexpected name the scene.
        """
        with _about([visit.scene_id for visit in visits]):
            return self._assembled(visits, step)

    def _assembled(self, visits: Sequence[ScenePlan], step: int | None) -> MicroBatch:
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
        """One scene, read once as long as there is room for it."""
        return self._held.get(scene_id, self._read)

    def _read(self, scene_id: str) -> SceneData:
        with _about([scene_id]):
            prepared = self.prepared[scene_id]
            return SceneData(
                replace(prepared, pairs=None),
                tuple(
                    training_question(sample, prepared, self.tokenizer, self._mark)
                    for sample in self.samples[scene_id]
                ),
                {each.name: each.target(prepared) for each in self.objectives if each.has_target},
                None if self.guidance is None else self.guidance.of(prepared),
            )

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


@contextmanager
def _about(scene_ids: Sequence[str]) -> Iterator[None]:
    """Errors name the scenes: the thread that raises them works on others than the reader does."""
    try:
        yield
    except ThreedrsError as error:
        told = {word.strip(":,;.") for word in str(error).split()}
        if not isinstance(error, DataError) or told.intersection(scene_ids):
            raise
        raise SceneError(", ".join(scene_ids), str(error)) from error
    except Exception as error:
        names = f"while scenes {', '.join(scene_ids)} were read"
        if is_out_of_memory(error) or isinstance(error, OSError):
            error.add_note(names)
            raise
        raise StepFailed(f"{names}: {type(error).__name__}: {error}") from error


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
