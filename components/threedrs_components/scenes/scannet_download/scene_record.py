"""What is to be made of a scene, and what a finished scene folder says it was made of."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from threedrs_components.scenes.embodiedscan import FrameList
from threedrs_components.scenes.scannet_download.layout import SceneFiles
from threedrs_components.scenes.scannet_download.masks import mask_inputs
from threedrs_platform.config import Config

RECORD = "conversion.json"
"""Stands in a finished scene folder, and tells what it was made of and what it holds."""
FORMAT = 2
"""Of the record and the files beside it; a scene of another format is made again."""


class ConversionConfig(Config):
    """What is taken from a download."""

    frame_step: int = Field(default=10, ge=1)
    """Every so many frames of the stream, counted from the first, with or without a pose."""
    jpeg: Literal["stored", "reencode"] = "stored"
    """Colour as the stream has it, or encoded again as the released script does."""
    max_proposals: int = Field(default=50, ge=1)
    """Masks of Mask3D that are read, in the order of their file."""


@dataclass(frozen=True)
class SceneJob:
    """One scene to convert."""

    files: SceneFiles
    split: str
    out: Path
    """The folder of posed images; gets one folder for the scene."""
    config: ConversionConfig
    listed: FrameList | None = None
    """What EmbodiedScan says of the scene; without it the frames with a pose are listed."""
    masks: Path | None = None
    labels: frozenset[str] | None = None
    """Names that the label table knows."""

    @property
    def folder(self) -> Path:
        """Where the scene goes."""
        return self.out / self.files.scene_id

    def settings(self) -> str:
        """Digest of all that is decided for the scene; not of its files."""
        listed = self.listed
        said = listed and [
            listed.frame_names,
            listed.axis_alignment.tolist(),
            listed.depth_intrinsics.tolist(),
        ]
        decided = [FORMAT, self.config.identity(), self.split, said]
        return hashlib.sha256(json.dumps(decided).encode()).hexdigest()[:12]

    def inputs(self) -> dict[str, list[int]]:
        """Size and time of change of every input file that is there, by its role."""
        files = self.files.by_role()
        if self.masks is not None:
            files |= mask_inputs(self.masks, self.config.max_proposals)
        stamps = {role: _stamp(path) for role, path in files.items()}
        return {role: stamp for role, stamp in stamps.items() if stamp}


@dataclass(frozen=True)
class ConvertedScene:
    """What a converted scene holds; JSON-ready."""

    scene: str
    split: str
    settings: str
    config: dict[str, Any]
    inputs: dict[str, list[int]]
    frames_in_stream: int
    frames: int
    """Written, with or without a pose."""
    without_pose: int
    listed: list[str]
    """Names of the frames that a student may see."""
    axis_alignment: list[list[float]]
    depth_intrinsics: list[list[float]]
    boxes: dict[str, list[float]]
    """Centre and size of each object by its id in the annotation."""
    vanished: list[int]
    """Objects without a vertex of their own."""
    unknown_labels: list[str]
    proposals: list[list[float]] | None
    """None where no file of masks was given."""
    empty_masks: int
    boxes_with_points: float | None
    """Share of the boxes that hold a point of the frames' depth."""
    stream_remarks: list[str]
    """Those of the remarks that are about its stream."""
    remarks: list[str]
    seconds: float


def finished(job: SceneJob) -> ConvertedScene | None:
    """The scene as it stands, if it was made whole by these settings of these inputs.

    Where the stream has been removed since, other inputs may be gone too, but none may differ.
    """
    found = read_record(job.folder)
    if found is None or found.settings != job.settings():
        return None
    inputs = job.inputs()
    if "stream" not in inputs:
        inputs = found.inputs | inputs
    return found if found.inputs == inputs and _is_whole(job.folder, found) else None


def _is_whole(folder: Path, scene: ConvertedScene) -> bool:
    """Whether nobody has taken or emptied a file of it since."""
    for ending in (".jpg", ".png"):
        sizes = [path.stat().st_size for path in folder.glob(f"*{ending}")]
        if len(sizes) != scene.frames or not all(sizes):
            return False
    return True


def read_record(folder: Path) -> ConvertedScene | None:
    """What a converted scene folder says of itself; None of one that is unfinished or no such."""
    try:
        return ConvertedScene(**json.loads((folder / RECORD).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None


def _stamp(path: Path) -> list[int]:
    """Size and time of change; nothing of a file that is not there."""
    try:
        stat = path.stat()
    except (OSError, ValueError):
        return []
    return [stat.st_size, stat.st_mtime_ns]
