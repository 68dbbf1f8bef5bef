"""Scenes from folders of posed RGB-D frames."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import numpy as np
from pydantic import Field

from threedrs_components.scenes.boxes import read_scene_boxes
from threedrs_components.scenes.frames import (
    UnreadableImage,
    read_color,
    read_depth,
    uniform_choice,
)
from threedrs_components.scenes.settings import SceneSettings
from threedrs_components.scenes.splits import ALL, chosen_split, read_splits
from threedrs_platform.config import PLACE
from threedrs_platform.errors import DataError, SceneError
from threedrs_platform.records import Boxes, Float32, Scene, UInt8

Pixels = TypeVar("Pixels", UInt8, Float32)


class RGBDFolderConfig(SceneSettings):
    """Scenes under one folder (see `RGBDFolder` for the file names understood)."""

    kind: Literal["rgbd_folder"] = "rgbd_folder"
    root: Annotated[str, PLACE]
    num_frames: int | None = Field(default=None, ge=1)
    """Frames per scene, spread evenly over those there are; all if not given."""

    @property
    def most_frames(self) -> int | None:
        """As set."""
        return self.num_frames

    def data(self) -> Mapping[str, str]:
        """The folder."""
        return {"scenes.root": self.root}

    def open(self, written: Path) -> RGBDFolder:
        """Open the folder itself."""
        del written
        return RGBDFolder(Path(self.root), self.num_frames)


class WrittenScenesConfig(SceneSettings):
    """Scenes that were written into the artifact; no grid file names this kind."""

    kind: Literal["written"] = "written"

    def open(self, written: Path) -> RGBDFolder:
        """Open the artifact as a world of posed RGB-D folders."""
        return RGBDFolder(written)


@dataclass(frozen=True)
class FolderStyle:
    """How one family of data sets names its files."""

    name: str
    color: str
    """Regular expression of a colour file; group 1 is the frame's name."""
    depth_suffix: str
    pose_suffix: str
    color_intrinsics: str
    depth_intrinsics: str

    def colors(self, folder: Path) -> dict[str, Path]:
        """Colour files of a folder by frame name, in order of name."""
        matches = ((re.fullmatch(self.color, path.name), path) for path in folder.iterdir())
        return dict(sorted((match[1], path) for match, path in matches if match))


STYLES = (
    FolderStyle(
        name="7-Scenes",
        color=r"(frame-\d+)\.color\.(?:jpg|jpeg|png)",
        depth_suffix=".depth.png",
        pose_suffix=".pose.txt",
        color_intrinsics="camera-intrinsics.txt",
        depth_intrinsics="camera-intrinsics.txt",
    ),
    FolderStyle(
        name="ScanNet posed images",
        color=r"(\d+)\.(?:jpg|jpeg)",
        depth_suffix=".png",
        pose_suffix=".txt",
        color_intrinsics="intrinsic.txt",
        depth_intrinsics="depth_intrinsic.txt",
    ),
)


class RGBDFolder:
    """Scene source over one scene folder, a folder of scene folders, or a written world.

    A scene folder holds `frame-NNNNNN.color.(jpg|png)`, `.depth.png`, `.pose.txt` and
    `camera-intrinsics.txt` (7-Scenes), or `NNNNN.jpg`, `.png`, `.txt`, `intrinsic.txt` and
    `depth_intrinsic.txt` (ScanNet posed images); optionally `boxes.json`. A world holds
    `scenes/` and `splits.json`. Without `splits.json` the one split is "all".
    """

    def __init__(self, root: Path, num_frames: int | None = None) -> None:
        if not root.is_dir():
            raise DataError(f"{root}: no such folder of scenes")
        self.root, self.num_frames = root, num_frames
        self._splits = read_splits(root)
        self._folder = root / "scenes" if self._splits else root

    def splits(self) -> Sequence[str]:
        """Names of the splits."""
        return sorted({ALL, *self._splits})

    def scenes(self, split: str = ALL) -> Sequence[str]:
        """Scene ids of a split, sorted."""
        if split == ALL:
            return self._every_scene()
        return chosen_split(self._splits, split, str(self.root))

    def load(self, scene_id: str) -> Scene:
        """Read one scene."""
        folder = self._scene_folder(scene_id)
        if not folder.is_dir():
            raise SceneError(scene_id, "no such scene folder", folder)
        return load_folder(scene_id, folder, num_frames=self.num_frames)

    def _every_scene(self) -> list[str]:
        if find_style(self._folder):
            return [self._folder.resolve().name]
        # Hidden folders are no data: a step's key does not hold them.
        folders = (p for p in self._folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        found = sorted(p.name for p in folders if find_style(p))
        if not found:
            raise DataError(
                f"{self._folder}: holds no posed RGB-D frames; expected files like "
                "frame-000000.color.jpg, or folders of such files"
            )
        return found

    def _scene_folder(self, scene_id: str) -> Path:
        nested = self._folder / scene_id
        if not nested.is_dir() and self._folder.resolve().name == scene_id:
            return self._folder
        return nested


def find_style(folder: Path) -> FolderStyle | None:
    """The naming style of a scene folder, or None if it holds no colour frames."""
    return next((style for style in STYLES if style.colors(folder)), None)


def load_folder(
    scene_id: str,
    folder: Path,
    *,
    num_frames: int | None = None,
    frame_names: Sequence[str] | None = None,
    axis_alignment: Float32 | None = None,
    depth_intrinsics: Float32 | None = None,
) -> Scene:
    """Read a scene folder; keywords override what the folder says.

    Raises:
        SceneError: names the file and the reason.
    """
    style = find_style(folder)
    if style is None:
        raise SceneError(scene_id, "no colour frames found", folder)
    colors = style.colors(folder)
    names = _chosen_names(scene_id, folder, colors, frame_names, num_frames)
    objects, alignment = _objects(scene_id, folder)
    depth_files = [folder / (name + style.depth_suffix) for name in names]
    depth = _stack(scene_id, depth_files, "depth", read_depth)
    if not (depth > 0).any():
        raise SceneError(scene_id, "no pixel of any frame has valid depth", folder)
    if depth_intrinsics is None:
        depth_intrinsics = read_intrinsics(scene_id, folder / style.depth_intrinsics)
    return Scene(
        scene_id=scene_id,
        frame_names=tuple(names),
        images=_stack(scene_id, [colors[name] for name in names], "colour", read_color),
        depth=depth,
        color_intrinsics=read_intrinsics(scene_id, folder / style.color_intrinsics),
        depth_intrinsics=depth_intrinsics,
        camera_to_world=np.stack(
            [read_pose(scene_id, folder / (name + style.pose_suffix)) for name in names]
        ),
        axis_alignment=alignment if axis_alignment is None else axis_alignment,
        objects=objects,
    )


def load_images(scene_id: str, folder: Path, num_frames: int) -> tuple[tuple[str, ...], UInt8]:
    """Names and colours [F, H, W, 3] of frames chosen evenly from all images of a scene folder.

    Raises:
        SceneError: names the file and the reason.
    """
    style = find_style(folder)
    if style is None:
        raise SceneError(scene_id, "no colour frames found", folder)
    colors = style.colors(folder)
    names = _chosen_names(scene_id, folder, colors, None, num_frames)
    return tuple(names), _stack(scene_id, [colors[name] for name in names], "colour", read_color)


def read_pose(scene_id: str, path: Path) -> Float32:
    """Read a 4x4 camera-to-world matrix."""
    pose = _read_matrix(scene_id, path, "pose")
    if pose.shape != (4, 4):
        raise SceneError(scene_id, f"pose must be 4x4, is {pose.shape}", path)
    if not np.isfinite(pose).all():
        raise SceneError(scene_id, "pose holds NaN or infinity (tracking was lost here)", path)
    if not np.allclose(pose[3], [0, 0, 0, 1], atol=1e-4):
        raise SceneError(scene_id, "last row of the pose must be 0 0 0 1", path)
    return pose


def read_intrinsics(scene_id: str, path: Path) -> Float32:
    """Read a 3x3 intrinsic matrix (or the upper left of a 4x4)."""
    matrix = _read_matrix(scene_id, path, "camera intrinsics")
    if matrix.shape not in ((3, 3), (4, 4)):
        raise SceneError(scene_id, f"intrinsics must be 3x3 or 4x4, are {matrix.shape}", path)
    matrix = matrix[:3, :3]
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise SceneError(scene_id, "intrinsics need finite values and positive focals", path)
    return matrix


def _chosen_names(
    scene_id: str,
    folder: Path,
    colors: dict[str, Path],
    wanted: Sequence[str] | None,
    num_frames: int | None,
) -> list[str]:
    names = list(colors) if wanted is None else list(wanted)
    if not names:
        raise SceneError(scene_id, "its frame list is empty", folder)
    missing = [name for name in names if name not in colors]
    if missing:
        raise SceneError(scene_id, f"frame {missing[0]} is listed but has no colour file", folder)
    if num_frames is not None:
        names = [names[index] for index in uniform_choice(len(names), num_frames)]
    return names


def _objects(scene_id: str, folder: Path) -> tuple[Boxes | None, Float32]:
    path = folder / "boxes.json"
    if path.is_file():
        return read_scene_boxes(scene_id, path)
    return None, np.eye(4, dtype=np.float32)


def _stack(scene_id: str, paths: list[Path], what: str, read: Callable[[Path], Pixels]) -> Pixels:
    images: list[Pixels] = []
    for path in paths:
        if not path.is_file():
            raise SceneError(scene_id, f"{what} image is missing", path)
        try:
            images.append(read(path))
        except UnreadableImage as error:
            raise SceneError(scene_id, f"{what} image: {error}", path) from error
    sizes = Counter(image.shape[:2] for image in images)
    usual = sizes.most_common(1)[0][0]
    for path, image in zip(paths, images, strict=True):
        if image.shape[:2] != usual:
            raise SceneError(
                scene_id, f"{what} image is {image.shape[:2]}, the other frames are {usual}", path
            )
    return np.stack(images)


def _read_matrix(scene_id: str, path: Path, what: str) -> Float32:
    if not path.is_file():
        raise SceneError(scene_id, f"{what} file is missing", path)
    try:
        rows = [[float(word) for word in line.split()] for line in path.read_text().splitlines()]
        return np.asarray([row for row in rows if row], dtype=np.float32)
    except ValueError as error:
        raise SceneError(
            scene_id, f"{what} file is not a matrix of numbers: {error}", path
        ) from error
