"""A teacher's stored features as what objectives compare a scene with."""

from __future__ import annotations

from threedrs_components.objectives.objective import TeacherFeatures
from threedrs_components.teachers.map_choices import Control, TeacherFrames
from threedrs_components.teachers.maps import TeacherMaps
from threedrs_platform.store.features import FeatureFolder


def checked_features(
    teacher: TeacherFeatures, frames: TeacherFrames = "student", control: Control = "none"
) -> FeatureFolder:
    """The features of all scenes to train on.

    Raises:
        DataError: those of some scene do not fit it, or come from another extraction.
    """
    assert teacher.folder is not None, "whoever reads a teacher's features is given them"
    features = FeatureFolder(teacher.folder)
    TeacherMaps(features, frames, control).check(teacher.scenes, teacher.scene_ids)
    return features
