"""A teacher's stored features as what objectives compare a scene with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from threedrs_components.objectives.objective import TeacherFeatures
from threedrs_components.teachers.map_choices import Control, TeacherFrames
from threedrs_components.teachers.maps import TeacherMap, TeacherMaps
from threedrs_platform.store.features import FeatureFolder


def checked_features(
    teacher: TeacherFeatures, frames: TeacherFrames = "student", control: Control = "none"
) -> FeatureFolder:
    """The features of all scenes to train on.

    Raises:
        DataError: those of some scene do not fit it, or come from another extraction.
    """
    features = FeatureFolder(teacher.folder)
    TeacherMaps(features, frames, control).check(teacher.scenes, teacher.scene_ids)
    return features


def stacked(maps: Sequence[TeacherMap]) -> Tensor:
    """[S, F, P, P, D] float32 of the maps of several scenes."""
    return torch.from_numpy(np.stack(maps).astype(np.float32))
