"""Features of one scene from where a run keeps them: the teacher's on disk, a student's by running.

A student's hidden states are made when first asked for, one scene at a time, and kept as Arrow
files in a folder of bounded size.
"""

from __future__ import annotations

import os
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from threedrs_components.scenes.prepared import PreparedScene
from threedrs_dashboards.viewer.missing import Missing
from threedrs_platform.records import FeatureMap
from threedrs_platform.store.features import (
    FeatureHeader,
    check_frames,
    feature_path,
    read_features,
    write_features,
)

if TYPE_CHECKING:
    from threedrs_components.students.student import Student

Features = NDArray[np.floating[Any]]

LARGEST_STUDENT_BYTES = 2 << 30
"""A server that answers clicks does not load larger checkpoints."""
CACHE_BYTES = 1 << 30
KEPT_STUDENTS = 3

_one_at_a_time = threading.Lock()


def teacher_features(folder: Path, scene: PreparedScene) -> Features:
    """[F, rows, columns, channels] as extracted; a read-only view of the file.

    Raises:
        Missing: the scene was not extracted.
        DataError: it was extracted from other frames.
    """
    path = feature_path(folder, scene.scene_id)
    if not path.is_file():
        raise Missing(f"the teacher's features of scene {scene.scene_id} were not extracted")
    stored = read_features(path).features
    check_frames(stored, scene.frame_names)
    return stored.features


class StudentFeatures:
    """Hidden states of students at the visual tokens, cached on disk."""

    def __init__(self, cache: Path, limit_bytes: int = CACHE_BYTES) -> None:
        self._cache, self._limit_bytes = cache, limit_bytes

    def of(self, checkpoint: Path, made_from: str, scene: PreparedScene, layer: int) -> Features:
        """[F, rows, columns, width] of one scene, float16 precision.

        Args:
            checkpoint: folder of the trained student.
            made_from: digests of the checkpoint and of the prepared scenes: names the cache entry.
            scene: what the student looks at.
            layer: -1 is after the final norm.

        Raises:
            Missing: the student is blind, too large for this server or reads a teacher's features,
            or has no such layer.
        """
        folder = self._cache / f"{made_from}.{layer}"
        path = feature_path(folder, scene.scene_id)
        with _one_at_a_time:
            if path.is_file():
                stored = read_features(path).features
                if stored.frame_names == scene.frame_names:
                    os.utime(path)
                    return stored.features
            values = _run(checkpoint, scene, layer).astype(np.float16)
            header = FeatureHeader("student", made_from, "", "prepared frames", layer)
            write_features(path, FeatureMap(scene.scene_id, scene.frame_names, values), header)
            forget_oldest(self._cache, self._limit_bytes)
        return values


def _run(checkpoint: Path, scene: PreparedScene, layer: int) -> Features:
    # Torch and transformers take seconds to import: pages without features do without.
    from threedrs_components.students.checkpoints import student_features

    student = _load(checkpoint)
    if student.config.blind:
        raise Missing("this student is blind: it has no visual tokens to look at")
    if student.fusion is not None:
        raise Missing(
            "this student reads a teacher's features beside its frames (fusion), which this page "
            "does not give it. Its scores are on the correspondence page"
        )
    try:
        states = student_features(student, scene.frame_batch(), scene.coordinates, layer)
    except IndexError:
        raise Missing(f"this student has no layer {layer}; -1 is its last") from None
    found: Features = states.numpy()
    return found


@lru_cache(maxsize=KEPT_STUDENTS)
def _load(checkpoint: Path) -> Student:
    from threedrs_components.students.registry import open_student

    size = sum(file.stat().st_size for file in checkpoint.glob("*.safetensors"))
    if size > LARGEST_STUDENT_BYTES:
        raise Missing(
            f"this student has {size / 2**30:.1f} GiB of weights; a dashboard runs students of at "
            f"most {LARGEST_STUDENT_BYTES / 2**30:.0f} GiB. Its scores are on the correspondence "
            "page"
        )
    return open_student(checkpoint)


def forget_oldest(folder: Path, limit_bytes: int) -> None:
    """Delete the files used longest ago until the folder fits its limit."""
    files = [(path, path.stat()) for path in folder.rglob("*.arrow")]
    excess = sum(status.st_size for _, status in files) - limit_bytes
    for path, status in sorted(files, key=lambda each: each[1].st_mtime):
        if excess <= 0:
            return
        path.unlink(missing_ok=True)
        excess -= status.st_size
