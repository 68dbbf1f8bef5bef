"""The stored teacher maps that a student with fusion reads, scene by scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor

from threedrs_components.scenes.prepared import PreparedScene
from threedrs_components.students.fusion_settings import FusionSettings
from threedrs_components.students.student import Student
from threedrs_components.teachers.maps import Scenes, TeacherMap, TeacherMaps, stacked
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.store.features import FeatureFolder


class Guidance:
    """One folder of features, read as the settings of fusion say."""

    def __init__(self, folder: Path, settings: FusionSettings) -> None:
        self.features = FeatureFolder(folder)
        self._maps = TeacherMaps(self.features, control=settings.control)

    def of(self, scene: PreparedScene) -> TeacherMap:
        """Features [F, P, P, D] for the frames of a scene, as stored.

        Raises:
            DataError: they were made from other frames, or for another grid.
        """
        return self._maps.of(scene)

    def check(self, scenes: Scenes, scene_ids: Sequence[str]) -> tuple[int, dict[str, Any]]:
        """Look at all of these scenes; the width of their features, and where those come from.

        Raises:
            DataError: some do not fit their scene, or come from another extraction.
        """
        header = self._maps.check(scenes, scene_ids)
        return int(self.features[scene_ids[0]].features.shape[-1]), asdict(header)


GuidanceOf = Callable[[PreparedScene], Tensor | None]
"""A scene to the features [F, P, P, D] that a student reads beside its frames."""


def guidance_of(student: Student, folder: Path | None) -> GuidanceOf:
    """What a trained student reads beside its frames; nothing, if it has no fusion.

    Asked of a scene, it raises a CheckpointError where the features are not of the teacher that the
    student has learned with, and a DataError where they do not fit the scene.

    Args:
        student: trained or not.
        folder: of the features of the scenes that it is asked about, if there is one.

    Raises:
        ConfigError: it needs features, and there are none.
    """
    fusion = student.fusion
    if fusion is None:
        return lambda scene: None
    if folder is None:
        teacher = fusion.source.get("teacher")
        message = (
            f"the student reads features of {teacher} beside its frames, in evaluation as in "
            "training, and none are given: extract them for these scenes"
        )
        raise ConfigError([Fault(message, path="fusion.mode")])
    guidance = Guidance(folder, fusion.settings)

    def of(scene: PreparedScene) -> Tensor:
        stored = guidance.features.stored(scene.scene_id)
        fusion.check_source(asdict(stored.header), stored.features.features.shape[-1])
        return stacked([guidance.of(scene)])[0]

    return of
