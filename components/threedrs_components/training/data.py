"""What each training step sees: a pure function of seed and step, whoever asks."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from threedrs_components.objectives.config import CorrespondenceConfig, TeacherFrames, TextMask
from threedrs_components.scenes.pairs import PairMatrix
from threedrs_components.scenes.prepared import PreparedScene, PreparedScenes, scene_pairs
from threedrs_components.students.tokenizer import StudentTokenizer
from threedrs_components.training.batches import (
    Question,
    SceneBatch,
    collate,
    object_candidates,
    training_question,
)
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.text_masks import LearnedTokens
from threedrs_components.training.visits import ScenePlan, StepPlan, Visits, visits_of
from threedrs_platform.errors import ConfigError, DataError, Fault
from threedrs_platform.records import Sample
from threedrs_platform.store.features import (
    FeatureFolder,
    check_frames,
    check_one_extraction,
    statistics_of,
)

MAX_SCENES_HELD = 128
TeacherMap = NDArray[np.floating[Any]]
"""Stored teacher features [F, P, P, D]: float16, mapped from disk, a copy only while in use."""


@dataclass(frozen=True)
class SceneData:
    """All that training reads of one scene."""

    prepared: PreparedScene
    questions: tuple[Question, ...]
    teacher: TeacherMap | None
    """[F, P, P, D], or None without alignment"""
    pairs: PairMatrix | None
    """Correspondences, or None without that loss"""


@dataclass(frozen=True)
class MicroBatch:
    """What one worker computes in one accumulation round."""

    batch: SceneBatch
    teacher: Tensor | None
    """[S, F, P, P, D]"""
    pairs: tuple[PairMatrix, ...]


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
        features: Path | None = None,
        feature_frames: TeacherFrames = "student",
        correspondence: CorrespondenceConfig | None = None,
        text_mask: TextMask = "clean",
        blind: bool = False,
    ) -> None:
        self.prepared, self.samples, self.tokenizer = prepared, samples, tokenizer
        self.training, self.seed, self.blind = training, seed, blind
        self.correspondence = correspondence
        self.features = None if features is None else FeatureFolder(features)
        self.feature_frames = feature_frames
        self.learned = LearnedTokens(tokenizer, text_mask)
        self.scene_ids = sorted(samples)
        if not self.scene_ids:
            raise DataError("no scene to train on: the annotations name none of the split's scenes")
        self._check_features()
        self._held: OrderedDict[str, SceneData] = OrderedDict()

    def plan(self, step: int) -> StepPlan:
        """Scenes and questions of a step."""
        return self._visits.plan(step)

    @cached_property
    def _visits(self) -> Visits:
        """Made when first asked for: validation has no steps."""
        return visits_of(self.samples, self.training, self.seed)

    def micro_batches(self, plan: StepPlan, rank: int, world: int) -> list[MicroBatch]:
        """This worker's share of a step, one batch per accumulation round."""
        rounds = self.training.gradient_accumulation
        own = plan.scenes[rank::world]
        size = len(own) // rounds
        return [self.assemble(own[index * size : (index + 1) * size]) for index in range(rounds)]

    def assemble(self, visits: Sequence[ScenePlan]) -> MicroBatch:
        """Collate scenes with their chosen questions."""
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
        teachers = [item.teacher for item in data if item.teacher is not None]
        targets = torch.from_numpy(np.stack(teachers).astype(np.float32)) if teachers else None
        pairs = tuple(item.pairs for item in data if item.pairs is not None)
        return MicroBatch(batch, targets, pairs)

    def scene(self, scene_id: str) -> SceneData:
        """One scene, read once while it stays among the most recent."""
        if scene_id in self._held:
            self._held.move_to_end(scene_id)
            return self._held[scene_id]
        prepared = self.prepared[scene_id]
        data = SceneData(
            prepared,
            tuple(
                training_question(sample, prepared, self.tokenizer, self.learned)
                for sample in self.samples[scene_id]
            ),
            self._teacher_map(prepared),
            None if self.correspondence is None else _pairs(prepared, self.correspondence),
        )
        self._held[scene_id] = data
        if len(self._held) > MAX_SCENES_HELD:
            self._held.popitem(last=False)
        return data

    def _check_features(self) -> None:
        """All scenes' at once: a training of days must not end at the last scene it meets."""
        if self.features is None:
            return
        check_one_extraction(self.features, self.scene_ids)
        for scene_id in self.scene_ids:
            teacher_map(self.features, self.prepared[scene_id], self.feature_frames)

    def _teacher_map(self, scene: PreparedScene) -> TeacherMap | None:
        if self.features is None:
            return None
        return teacher_map(self.features, scene, self.feature_frames)

    def teacher_statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation [D] of the teacher's features over all training scenes, float32."""
        assert self.features is not None
        found = statistics_of(self.features, self.scene_ids)
        return torch.from_numpy(found.mean).float(), torch.from_numpy(found.std).float()

    def _order(self, visit: ScenePlan, num_frames: int) -> Tensor:
        order = list(range(num_frames))
        random.Random(f"{visit.place}/frames").shuffle(order)
        return torch.tensor(order)


def check_shares(training: TrainingConfig, world: int) -> None:
    """Every worker must get equally many scenes in every accumulation round.

    Raises:
        ConfigError: it does not work out.
    """
    parts = world * training.gradient_accumulation
    if training.scenes_per_step % parts:
        message = (
            f"{training.scenes_per_step} does not divide into {world} workers x "
            f"{training.gradient_accumulation} accumulation rounds; use a multiple of {parts}"
        )
        raise ConfigError([Fault(message, path="training.scenes_per_step")])


def teacher_map(
    features: FeatureFolder, scene: PreparedScene, frames: TeacherFrames = "student"
) -> TeacherMap:
    """Teacher features [F, P, P, D] of the very frames that the student sees, as stored.

    Args:
        features: of the training scenes.
        scene: as the student sees it.
        frames: with "all_images" only the number of frames must agree.

    Raises:
        DataError: other frames, or another grid.
    """
    stored = features[scene.scene_id]
    if frames == "student" or len(stored.frame_names) != len(scene.frame_names):
        check_frames(stored, scene.frame_names)
    if stored.features.shape[1:3] != (scene.grid, scene.grid):
        raise DataError(
            f"scene {scene.scene_id}: teacher features have a grid of "
            f"{stored.features.shape[1]}x{stored.features.shape[2]}, the student one of "
            f"{scene.grid}x{scene.grid}; extract them for this student"
        )
    return stored.features


def _pairs(scene: PreparedScene, config: CorrespondenceConfig) -> PairMatrix:
    return scene_pairs(scene, level=config.level, voxel_m=config.voxel_m)
