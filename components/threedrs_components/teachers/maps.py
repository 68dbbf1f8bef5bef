"""Stored teacher maps by scene, in the student's grid: read by distillation and by fusion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from threedrs_components.scenes.prepared import PreparedScene
from threedrs_components.teachers.map_choices import Control, TeacherFrames
from threedrs_platform.errors import DataError
from threedrs_platform.records import FeatureMap
from threedrs_platform.store.features import (
    FeatureFolder,
    FeatureHeader,
    check_frames,
    check_one_extraction,
)

TeacherMap = NDArray[np.floating[Any]]
"""Stored teacher features [F, P, P, D]: float16, mapped from disk, a copy only while in use."""


class Scenes(Protocol):
    """Prepared scenes by id."""

    def __getitem__(self, scene_id: str, /) -> PreparedScene: ...


class TeacherMaps:
    """A folder of one extraction, or the same with scenes and maps interchanged."""

    def __init__(
        self,
        features: FeatureFolder,
        frames: TeacherFrames = "student",
        control: Control = "none",
    ) -> None:
        self.features, self.frames, self.control = features, frames, control

    def of(self, scene: PreparedScene) -> TeacherMap:
        """Features [F, P, P, D] of the very frames that the student sees, as stored.

        With the control they are those of another scene with as many frames.

        Raises:
            DataError: other frames, or another grid; or there is no other scene.
        """
        if self.control == "none":
            return teacher_map(self.features, scene, self.frames)
        other = self.features[self._others[scene.scene_id]]
        if len(other.frame_names) != len(scene.frame_names):
            raise DataError(
                f"scene {scene.scene_id}: the control 'other_scene' gives it the features of "
                f"{other.scene_id}, which has {len(other.frame_names)} frames and not "
                f"{len(scene.frame_names)}; set prepare.num_frames so that all scenes have as many"
            )
        return _in_grid(other, scene)

    def check(self, scenes: Scenes, scene_ids: Sequence[str]) -> FeatureHeader:
        """Open the maps of all these scenes: a training of days must not end at the last one.

        Returns:
            Where all of them come from.

        Raises:
            DataError: some do not fit their scene, or come from another extraction.
        """
        header = check_one_extraction(self.features, scene_ids)
        for scene_id in scene_ids:
            self.of(scenes[scene_id])
        return header

    @cached_property
    def _others(self) -> Mapping[str, str]:
        """Half the sorted list further on: scans of one room are neighbours in it."""
        known = self.features.scenes()
        if len(known) < 2:
            raise DataError(
                f"{self.features.root}: the control 'other_scene' needs features of two scenes"
            )
        half = len(known) // 2
        return dict(zip(known, [*known[half:], *known[:half]], strict=True))


def stacked(maps: Sequence[TeacherMap]) -> Tensor:
    """[S, F, P, P, D] of S scenes, in the format in which they are stored."""
    return torch.from_numpy(np.stack(maps))


def teacher_map(
    features: FeatureFolder,
    scene: PreparedScene,
    frames: TeacherFrames = "student",
) -> TeacherMap:
    """Teacher features [F, P, P, D] of the very frames that the student sees, as stored.

    Args:
        features: of the scenes.
        scene: as the student sees it.
        frames: with "all_images" only the number of frames must agree.

    Raises:
        DataError: other frames, or another grid.
    """
    stored = features[scene.scene_id]
    if frames == "student" or len(stored.frame_names) != len(scene.frame_names):
        check_frames(stored, scene.frame_names)
    return _in_grid(stored, scene)


def _in_grid(stored: FeatureMap, scene: PreparedScene) -> TeacherMap:
    if stored.features.shape[1:3] != (scene.grid, scene.grid):
        raise DataError(
            f"scene {scene.scene_id}: teacher features have a grid of "
            f"{stored.features.shape[1]}x{stored.features.shape[2]}, the student one of "
            f"{scene.grid}x{scene.grid}; extract them for this student"
        )
    return stored.features
