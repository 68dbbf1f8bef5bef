"""A teacher's stored features as what objectives compare a scene with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from threedrs_components.objectives.objective import TeacherFeatures
from threedrs_components.objectives.settings import TeacherFrames
from threedrs_components.scenes.prepared import PreparedScene
from threedrs_platform.errors import DataError
from threedrs_platform.store.features import FeatureFolder, check_frames, check_one_extraction

TeacherMap = NDArray[np.floating[Any]]
"""Stored teacher features [F, P, P, D]: float16, mapped from disk, a copy only while in use."""


def checked_features(teacher: TeacherFeatures, frames: TeacherFrames = "student") -> FeatureFolder:
    """The features of all scenes to train on: a training of days must not end at the last one.

    Raises:
        DataError: those of some scene do not fit it, or come from another extraction.
    """
    features = FeatureFolder(teacher.folder)
    check_one_extraction(features, teacher.scene_ids)
    for scene_id in teacher.scene_ids:
        teacher_map(features, teacher.scenes[scene_id], frames)
    return features


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


def stacked(maps: Sequence[TeacherMap]) -> Tensor:
    """[S, F, P, P, D] float32 of the maps of several scenes."""
    return torch.from_numpy(np.stack(maps).astype(np.float32))
