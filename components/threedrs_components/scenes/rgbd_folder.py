"""Scenes from folders of posed RGB-D frames."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from threedrs_components.scenes.boxes import read_scene_boxes
from threedrs_components.scenes.folder_styles import (
    FolderStyle,
    find_style,
    unrecognised,
)
from threedrs_components.scenes.frames import (
    MILLIMETRES,
    RIGID,
    UnreadableImage,
    drops_told,
    read_color,
    read_depth,
    rotation_error,
    uniform_choice,
)
from threedrs_components.scenes.settings import SceneSettings
from threedrs_components.scenes.splits import ALL, chosen_split, read_splits
from threedrs_platform.config import PLACE
from threedrs_platform.errors import DataError, SceneError
from threedrs_platform.records import Boxes, Float32, Scene, UInt8

MIN_FRAMES = 8
"""A quarter of the paper's frames per scene."""
NOT_RIGID = "pose is not rigid: its rotation scales, shears or mirrors; divide the scale out of it"
Read = Callable[[str], tuple[NDArray[Any], ...]]
"""A frame's name to its arrays, each an image."""


class RGBDFolderConfig(SceneSettings):
    """Scenes under one folder (see `folder_styles.STYLES` for the file names understood)."""

    kind: Literal["rgbd_folder"] = "rgbd_folder"
    root: Annotated[str, PLACE]
    """One scene, a folder of scenes, or a folder with `scenes/` and, for a grid, a `splits.json`
    that names the scenes of each split."""
    num_frames: int | None = Field(default=None, ge=1)
    """Frames per scene, spread evenly over those that are good; all of them if not given."""
    min_frames: int = Field(default=MIN_FRAMES, ge=1)
    """Frames that must be left of a scene that lost some, else it is unusable. A frame without a
    pose, without depth, or that cannot be decoded is no part of its scene, and is told."""
    depth_scale: float = Field(default=MILLIMETRES, gt=0)
    """Units of whole-number depth images per metre: 1000 are millimetres; 4000 and 5000 are usual
    too. Depth of real numbers is in metres."""

    @property
    def most_frames(self) -> int | None:
        """As set."""
        return self.num_frames

    def data(self) -> Mapping[str, str]:
        """The folder."""
        return {"scenes.root": self.root}

    def frame_shape(self) -> tuple[int, int] | None:
        """The flattest of one frame of each scene, whose header is read."""
        root = Path(self.root)
        shapes = []
        for folder in [root, *sorted(root.glob("scenes/*")), *sorted(root.glob("*"))]:
            # Whoever reads the scenes says what is wrong with them.
            with contextlib.suppress(OSError, ValueError):
                if folder.is_dir() and (style := find_style(folder)) is not None:
                    with Image.open(min(style.colors(folder).values())) as picture:
                        shapes.append((picture.height, picture.width))
        return min(shapes, key=lambda shape: shape[0] / shape[1], default=None)

    def open(self, written: Path) -> RGBDFolder:
        """Open the folder itself."""
        del written
        return RGBDFolder(Path(self.root), self.num_frames, self.min_frames, self.depth_scale)


class WrittenScenesConfig(SceneSettings):
    """Scenes that were written into the artifact; no grid file names this kind."""

    kind: Literal["written"] = "written"

    def open(self, written: Path) -> RGBDFolder:
        """Open the artifact as a world of posed RGB-D folders."""
        return RGBDFolder(written, min_frames=1)


class RGBDFolder:
    """Scene source over one scene folder, a folder of scene folders, or a written world.

    A scene folder has one of the `STYLES`, and optionally `boxes.json`. A world holds `scenes/` and
    `splits.json`. Without `splits.json` the one split is "all".
    """

    def __init__(
        self,
        root: Path,
        num_frames: int | None = None,
        min_frames: int = MIN_FRAMES,
        depth_scale: float = MILLIMETRES,
    ) -> None:
        if not root.is_dir():
            raise DataError(f"{root}: no such folder of scenes")
        self.root, self.num_frames = root, num_frames
        self.min_frames, self.depth_scale = min_frames, depth_scale
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

    def folder(self, scene_id: str) -> Path:
        """Where a scene's files lie."""
        nested = self._folder / scene_id
        if not nested.is_dir() and self._folder.resolve().name == scene_id:
            return self._folder
        return nested

    def stamp(self, scene_id: str) -> str:
        """Changes with the settings, and with name, size or time of any file of a scene."""
        folder = self.folder(scene_id)
        style = find_style(folder)
        files = style.files(folder) if style else []
        stats = ((str(path.relative_to(folder)), path.stat()) for path in sorted(files))
        stamped = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
        return repr((self.num_frames, self.min_frames, self.depth_scale, stamped))

    def load(self, scene_id: str) -> Scene:
        """Read one scene."""
        folder = self.folder(scene_id)
        if not folder.is_dir():
            raise SceneError(scene_id, "no such scene folder", folder)
        return load_folder(
            scene_id,
            folder,
            num_frames=self.num_frames,
            min_frames=self.min_frames,
            depth_scale=self.depth_scale,
        )

    def _every_scene(self) -> list[str]:
        if find_style(self._folder):
            return [self._folder.resolve().name]
        # Hidden folders are no data: a step's key does not hold them.
        folders = (p for p in self._folder.iterdir() if p.is_dir() and not p.name.startswith("."))
        found = sorted(p.name for p in folders if find_style(p))
        if not found:
            raise DataError(f"{self._folder}: {unrecognised(self._folder)}")
        return found


def load_folder(
    scene_id: str,
    folder: Path,
    *,
    num_frames: int | None = None,
    min_frames: int = 1,
    depth_scale: float = MILLIMETRES,
    frame_names: Sequence[str] | None = None,
    axis_alignment: Float32 | None = None,
    depth_intrinsics: Float32 | None = None,
) -> Scene:
    """Read a scene folder; keywords override what the folder says.

    Frames without a rigid pose or without depth are left out before `num_frames` are chosen evenly;
    if one of those cannot be decoded, it is left out too and the choice is made again.

    Raises:
        SceneError: names the file and the reason.
    """
    files = _SceneFiles.of(scene_id, folder)
    objects, alignment = _objects(scene_id, folder)
    if depth_intrinsics is None:
        depth_intrinsics = read_intrinsics(scene_id, files.first_of(files.style.depth_intrinsics))
    color_intrinsics = read_intrinsics(scene_id, files.first_of(files.style.color_intrinsics))
    poses, dropped = files.poses(files.listed(frame_names, num_frames))

    def read(name: str) -> tuple[UInt8, Float32]:
        return files.color(name), files.depth(name, depth_scale)

    choice = _Choice(scene_id, folder, num_frames, min_frames, dropped)
    names, (images, depth) = choice.read([*poses], read)
    if not (depth > 0).any():
        raise SceneError(scene_id, "no pixel of any frame has valid depth", folder)
    return Scene(
        scene_id=scene_id,
        frame_names=tuple(names),
        images=images,
        depth=depth,
        color_intrinsics=color_intrinsics,
        depth_intrinsics=depth_intrinsics,
        camera_to_world=np.stack([poses[name] for name in names]),
        axis_alignment=alignment if axis_alignment is None else axis_alignment,
        objects=objects,
        dropped_frames=choice.dropped,
    )


def load_images(
    scene_id: str, folder: Path, num_frames: int
) -> tuple[tuple[str, ...], UInt8, Mapping[str, str]]:
    """Names and colours [F, H, W, 3] of frames chosen evenly from all images of a scene folder,
    and those that cannot be decoded, with the reason.

    Raises:
        SceneError: names the file and the reason.
    """
    files = _SceneFiles.of(scene_id, folder)
    choice = _Choice(scene_id, folder, num_frames, 1, {})
    names, (images,) = choice.read([*files.colors], lambda name: (files.color(name),))
    return tuple(names), images, choice.dropped


@dataclass(frozen=True)
class _SceneFiles:
    """The files of one scene by frame."""

    scene_id: str
    folder: Path
    style: FolderStyle
    colors: Mapping[str, Path]
    depths: Mapping[str, Path]

    @classmethod
    def of(cls, scene_id: str, folder: Path) -> _SceneFiles:
        """Find them.

        Raises:
            SceneError: the folder has none of the known styles.
        """
        style = find_style(folder)
        if style is None:
            raise SceneError(scene_id, unrecognised(folder), folder)
        return cls(scene_id, folder, style, style.colors(folder), style.depths(folder))

    def listed(self, wanted: Sequence[str] | None, num_frames: int | None) -> list[str]:
        """Names to choose from: those wanted, or all.

        A folder may hold no more than the frames that were once chosen from the wanted ones.

        Raises:
            SceneError: none.
        """
        names = list(self.colors) if wanted is None else list(wanted)
        if not names:
            raise SceneError(self.scene_id, "its frame list is empty", self.folder)
        chosen = _chosen(names, num_frames)
        absent = [name for name in names if name not in self.colors]
        return chosen if absent and not set(absent).intersection(chosen) else names

    def poses(self, names: Sequence[str]) -> tuple[dict[str, Float32], dict[str, str]]:
        """Poses of the frames that have one, a colour and a depth file; why the others are out."""
        poses: dict[str, Float32] = {}
        dropped: dict[str, str] = {}
        for name in names:
            try:
                if name not in self.colors:
                    raise SceneError(self.scene_id, "is listed but has no colour file")
                if name not in self.depths:
                    raise SceneError(self.scene_id, "depth image is missing")
                poses[name] = read_pose(self.scene_id, self.folder / self.style.pose_of(name))
            except SceneError as error:
                dropped[name] = error.reason
        return poses, dropped

    def color(self, name: str) -> UInt8:
        """A frame's colour."""
        try:
            return read_color(self.colors[name])
        except UnreadableImage as error:
            raise UnreadableImage(f"colour image: {error}") from error

    def depth(self, name: str, scale: float) -> Float32:
        """A frame's depth in metres."""
        try:
            return read_depth(self.depths[name], scale)
        except UnreadableImage as error:
            raise UnreadableImage(f"depth image: {error}") from error

    def first_of(self, names: Sequence[str]) -> Path:
        """The first of some files that is there, else the first."""
        paths = [self.folder / name for name in names]
        return next((path for path in paths if path.is_file()), paths[0])


class _Choice:
    """Chooses frames evenly from those that are good, as far as is known, and reads them."""

    def __init__(
        self,
        scene_id: str,
        folder: Path,
        num_frames: int | None,
        min_frames: int,
        dropped: dict[str, str],
    ) -> None:
        self.scene_id, self.folder, self.dropped = scene_id, folder, dropped
        self.num_frames, self.min_frames = num_frames, min_frames

    def read(self, names: list[str], read: Read) -> tuple[list[str], tuple[Any, ...]]:
        """Names of the chosen frames, and their arrays stacked: one per image of a frame.

        Raises:
            SceneError: too few are good.
        """
        held: dict[str, tuple[NDArray[Any], ...]] = {}
        while True:
            self._require(names)
            chosen = _chosen(names, self.num_frames)
            found = len(self.dropped)
            held = {name: held[name] for name in chosen if name in held}
            for name in dict.fromkeys(chosen):
                try:
                    held[name] = held.get(name) or read(name)
                except UnreadableImage as error:
                    self.dropped[name] = str(error)
            self._drop_odd_sizes(held)
            if len(self.dropped) == found:
                frames = [held[name] for name in chosen]
                return chosen, tuple(np.stack(images) for images in zip(*frames, strict=True))
            names = [name for name in names if name not in self.dropped]

    def _drop_odd_sizes(self, held: Mapping[str, tuple[NDArray[Any], ...]]) -> None:
        sizes = {name: tuple(image.shape[:2] for image in images) for name, images in held.items()}
        usual = Counter(sizes.values()).most_common(1)
        for name, size in sizes.items():
            if size != usual[0][0]:
                told = " and ".join(f"{width} x {height}" for height, width in size)
                most = " and ".join(f"{width} x {height}" for height, width in usual[0][0])
                self.dropped[name] = f"images are {told}, those of the other frames are {most}"

    def _require(self, names: Sequence[str]) -> None:
        if not self.dropped or len(names) >= max(1, self.min_frames):
            return
        total = len(names) + len(self.dropped)
        raise SceneError(
            self.scene_id,
            f"{len(names)} of {total} frames are usable, and min_frames is {self.min_frames}: "
            f"{drops_told(self.dropped)}",
            self.folder,
        )


def _chosen(names: Sequence[str], num_frames: int | None) -> list[str]:
    if num_frames is None:
        return [*names]
    return [names[index] for index in uniform_choice(len(names), num_frames)]


def read_pose(scene_id: str, path: Path) -> Float32:
    """Read a 4x4 camera-to-world matrix."""
    pose = _read_matrix(scene_id, path, "pose")
    if pose.shape != (4, 4):
        raise SceneError(scene_id, f"pose must be 4x4, is {pose.shape}", path)
    if not np.isfinite(pose).all():
        raise SceneError(scene_id, "pose holds NaN or infinity (tracking was lost here)", path)
    if not np.allclose(pose[3], [0, 0, 0, 1], atol=1e-4):
        raise SceneError(scene_id, "last row of the pose must be 0 0 0 1", path)
    if rotation_error(pose[None])[0] > RIGID:
        raise SceneError(scene_id, NOT_RIGID, path)
    return pose


def read_intrinsics(scene_id: str, path: Path) -> Float32:
    """Read a 3x3 intrinsic matrix (or the upper left of a 4x4)."""
    if not path.is_file():
        lines = "585 0 320, 0 585 240, 0 0 1"
        cure = f" (7-Scenes comes without; its three lines are {lines})"
        told = cure if path.name == "camera-intrinsics.txt" else ""
        raise SceneError(scene_id, f"camera intrinsics file is missing{told}", path)
    matrix = _read_matrix(scene_id, path, "camera intrinsics")
    if matrix.shape not in ((3, 3), (4, 4)):
        raise SceneError(scene_id, f"intrinsics must be 3x3 or 4x4, are {matrix.shape}", path)
    matrix = matrix[:3, :3]
    if not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise SceneError(scene_id, "intrinsics need finite values and positive focals", path)
    return matrix


def _objects(scene_id: str, folder: Path) -> tuple[Boxes | None, Float32]:
    path = folder / "boxes.json"
    if path.is_file():
        return read_scene_boxes(scene_id, path)
    return None, np.eye(4, dtype=np.float32)


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
