"""ScanNet++ and ARKitScenes as they are downloaded, read by the library scenezoo, an extra."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator, model_validator

from threedrs_components.scenes.clip_names import scene_of
from threedrs_components.scenes.frames import RIGID, rotation_error, uniform_choice
from threedrs_components.scenes.one_camera import seen_by, shared_camera
from threedrs_components.scenes.scene_names import is_name
from threedrs_components.scenes.settings import SceneSettings
from threedrs_components.scenes.splits import ALL, chosen_split
from threedrs_components.scenes.unreadable import machine_fault
from threedrs_platform.config import PLACE
from threedrs_platform.errors import ConfigError, DataError, Fault, SceneError
from threedrs_platform.records import Boxes, Float32, Scene

ITEMS = ("rgb", "depth", "rgb_intrinsics", "depth_intrinsics", "world_to_camera")


class ScenezooConfig(SceneSettings):
    """A data set among those whose adapters are held against files that our own tests write.

    The world of a scene is that of its data set: metres, z up, walls turned as they were scanned.
    Scenes are called as benchmarks about videos of both call them: `arkitscenes.41069025`.
    """

    kind: Literal["scenezoo"] = "scenezoo"
    dataset: Literal["scannetpp", "arkitscenes"]
    """scannetpp: ScanNet++; arkitscenes: ARKitScenes."""
    root: Annotated[str, PLACE]
    """As downloaded: holds `data/` (ScanNet++), or `raw/` with its metadata.csv (ARKitScenes)."""
    split_files: Annotated[dict[str, str], PLACE]
    """A file of names of scenes for each split, one a line; train and val are needed."""
    sensor: Literal["iphone", "lowres_wide", "mov"] | None = None
    """Whose frames. ScanNet++: iphone. ARKitScenes: lowres_wide (256 x 192, if not said), or mov,
    the video (1920 x 1440) that many downloads leave out."""
    rotate_to_up: bool = True
    """Whether frames of ARKitScenes, and their cameras, are turned until the sky is above. Those
    of ScanNet++ stay as they are."""
    num_frames: int = Field(default=32, ge=1)
    """Frames per scene at most, spread evenly over those that have a pose."""
    min_frames: int = Field(default=8, ge=1)
    """Frames that must be left of a scene, else it is unusable."""

    annotated_split: ClassVar[str] = "train"
    probe_split: ClassVar[str] = "train"
    mostly_unannotated: ClassVar[bool] = True

    @field_validator("split_files")
    @classmethod
    def _usual_splits(cls, files: dict[str, str]) -> dict[str, str]:
        missing = [split for split in ("train", "val") if split not in files]
        if missing:
            raise ValueError(f"needs a file of names for {' and '.join(missing)}")
        return files

    @model_validator(mode="after")
    def _sensor_is_its(self) -> Self:
        sensors = ADAPTERS[self.dataset].sensors
        if self.sensor not in (None, *sensors):
            known = ", ".join(sensors)
            raise ValueError(f"sensor {self.sensor}: {self.dataset} has none; it has {known}")
        return self

    @property
    def most_frames(self) -> int:
        """As set."""
        return self.num_frames

    @property
    def package(self) -> tuple[str, str]:
        """Scenezoo itself."""
        return ("scenezoo", "-e '.[scenes]'")

    @property
    def split_names(self) -> tuple[str, ...]:
        """Those that have a file."""
        return tuple(self.split_files)

    def scene_of(self, name: str) -> str:
        """With the data set before it, unless it is there."""
        return name if "." in name else f"{self.dataset}.{name}"

    def data(self) -> Mapping[str, str]:
        """The download, and the lists."""
        lists = {f"scenes.split_files.{split}": path for split, path in self.split_files.items()}
        return {"scenes.root": self.root, **lists}

    def open(self, written: Path) -> Scenezoo:
        """Read the lists; the library itself is loaded with the first scene."""
        del written
        return Scenezoo(self)


class Scenezoo:
    """Scene source over one data set in the layout of its download.

    The library reads frames, cameras and objects. What it takes for granted is done here: frames
    are chosen before any is decoded, each bad one is left out, every exception is a SceneError, and
    nothing is fetched.
    """

    def __init__(self, config: ScenezooConfig) -> None:
        self._config, self._adapter = config, ADAPTERS[config.dataset]
        self._root = Path(config.root)
        needed = self._root / self._adapter.needed
        if not needed.exists():
            raise DataError(f"{needed}: missing; {config.dataset} is read as it was downloaded")
        self._splits = {
            split: [scene_of(config.dataset, name) for name in _names(Path(path))]
            for split, path in config.split_files.items()
        }

    def splits(self) -> Sequence[str]:
        """Names of the splits."""
        return sorted({ALL, *self._splits})

    def scenes(self, split: str) -> Sequence[str]:
        """Scene ids of a split, sorted."""
        every = sorted({scene for ids in self._splits.values() for scene in ids})
        return chosen_split({ALL: every, **self._splits}, split, "scenes.split_files")

    def load(self, scene_id: str) -> Scene:
        """Read one scene at frames evenly chosen from those that have a pose."""
        folder = self._folder(scene_id)
        with _faults_of(scene_id, folder):
            good, dropped = self._posed(scene_id)
        frames = self._read(scene_id, folder, good, dropped)
        if not (frames.depth > 0).any():
            raise SceneError(scene_id, "no pixel of any frame has valid depth", folder)
        colors, depths = (
            shared_camera(each) for each in (frames.rgb_intrinsics, frames.depth_intrinsics)
        )
        return Scene(
            scene_id=scene_id,
            frame_names=tuple(Path(key).stem for key in frames.frame_keys),
            images=seen_by(colors, frames.rgb_intrinsics, frames.rgb, repeat_edge=True),
            depth=seen_by(depths, frames.depth_intrinsics, frames.depth, repeat_edge=False),
            color_intrinsics=colors,
            depth_intrinsics=depths,
            camera_to_world=np.linalg.inv(frames.world_to_camera.astype(np.float64)).astype(
                np.float32
            ),
            axis_alignment=np.eye(4, dtype=np.float32),
            objects=self._objects(scene_id, folder),
            dropped_frames=dropped,
        )

    @cached_property
    def _library(self) -> Any:
        try:
            import scenezoo

            return scenezoo.get_dataset(self._adapter.library, self._root, offline=True)
        except ImportError as error:
            raise ConfigError([Fault(_cure(error), "scenes.kind")]) from error

    def _folder(self, scene_id: str) -> Path:
        name = self._name(scene_id)
        folders = [self._root / parent / name for parent in self._adapter.parents]
        found = [folder for folder in folders if folder.is_dir()]
        if not found:
            raise SceneError(scene_id, "no such scene folder", folders[0])
        return found[0]

    def _name(self, scene_id: str) -> str:
        """What the data set and the library call a scene."""
        dataset, _, name = scene_id.partition(".")
        if dataset != self._config.dataset or not is_name(name):
            wanted = f"{self._config.dataset}.<folder>"
            raise SceneError(scene_id, f"no name of a scene: it would be {wanted}")
        return name

    def _frames(self, scene_id: str, items: Sequence[str], numbers: Any = None) -> Any:
        """What the library calls a FrameBatch, of some frames or all that have a pose."""
        return self._library.get_frames(
            self._name(scene_id),
            source=self._config.sensor or self._adapter.sensors[0],
            indices=numbers,
            items=items,
            rotate_to_up=self._config.rotate_to_up,
        )

    def _posed(self, scene_id: str) -> tuple[dict[int, str], dict[str, str]]:
        """Names of the frames that have a rigid pose by number, and why others are left out."""
        frames = self._frames(scene_id, ("world_to_camera",))
        names = np.array([Path(key).stem for key in frames.frame_keys])
        rigid = rotation_error(frames.world_to_camera) <= RIGID
        reason = "pose is not rigid: its rotation scales, shears or mirrors"
        good = zip(frames.indices[rigid].tolist(), names[rigid].tolist(), strict=True)
        return dict(good), dict.fromkeys(names[~rigid].tolist(), reason)

    def _read(
        self, scene_id: str, folder: Path, good: dict[int, str], dropped: dict[str, str]
    ) -> Any:
        """Frames chosen from the good ones; again without those that turn out not to be."""
        while True:
            if len(good) < self._config.min_frames:
                few = f"{len(good)} frames can be used, min_frames is {self._config.min_frames}"
                raise SceneError(scene_id, "; ".join([few, *dropped.values()][:2]), folder)
            numbers = np.array([*good])
            chosen = numbers[np.unique(uniform_choice(len(good), self._config.num_frames))]
            try:
                return self._whole(scene_id, folder, chosen)
            except SceneError:
                bad = self._unreadable(scene_id, folder, chosen)
                if not bad or len(bad) == len(chosen):
                    raise
            dropped |= {good.pop(number): reason for number, reason in bad.items()}

    def _unreadable(self, scene_id: str, folder: Path, chosen: NDArray[np.int64]) -> dict[int, str]:
        """Numbers of the frames that cannot be read alone either, and why."""
        bad: dict[int, str] = {}
        for number in chosen.tolist():
            try:
                self._whole(scene_id, folder, np.array([number]))
            except SceneError as error:
                bad[number] = error.reason
        return bad

    def _whole(self, scene_id: str, folder: Path, numbers: NDArray[np.int64]) -> Any:
        """Some frames with all that a scene needs of them."""
        with _faults_of(scene_id, folder):
            frames = self._frames(scene_id, ITEMS, numbers)
        cameras = np.concatenate([frames.rgb_intrinsics, frames.depth_intrinsics])
        if not np.isfinite(cameras).all() or (cameras[:, [0, 1], [0, 1]] <= 0).any():
            raise SceneError(scene_id, "intrinsics need finite values and positive focals", folder)
        return frames

    def _objects(self, scene_id: str, folder: Path) -> Boxes | None:
        """Objects of a scene that has annotations: those of test scenes are not published."""
        name = self._name(scene_id)
        if not (folder / self._adapter.annotations.format(scene=name)).is_file():
            return None
        with _faults_of(scene_id, folder):
            ids, labels, boxes = self._adapter.objects(self._library, name, folder)
        if not np.isfinite(boxes).all():
            raise SceneError(scene_id, "boxes of annotated objects are not finite", folder)
        return Boxes(ids, labels, boxes)


Objects = tuple[tuple[int, ...], tuple[str, ...], Float32]
"""Ids, labels, and boxes [K, 6]."""


def objects_of_vertices(library: Any, scene_id: str, folder: Path) -> Objects:
    """Boxes round the annotated vertices, as ScanNet's released boxes are made.

    The library's own boxes are all lost when a single object has no vertex left, and Open3D, with
    which it reads meshes, writes to the terminal.
    """
    from scenezoo.ops import read_ply

    mesh = read_ply(folder / "scans/mesh_aligned_0.05.ply")["vertex"]
    vertices = np.stack([mesh[axis] for axis in "xyz"], axis=1)
    instances = library.get_segmentation(scene_id, multilabel=True)
    if len(instances.labels) != len(vertices):
        raise ValueError(
            f"segments.json names {len(instances.labels)} vertices, the mesh has {len(vertices)}"
        )
    vertex, place = np.nonzero(instances.labels != instances.invalid_id)
    owner = instances.labels[vertex, place]
    order = np.argsort(owner, kind="stable")
    ids, starts = np.unique(owner[order], return_index=True)
    points = vertices[vertex[order]]
    boxes = _boxes(np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts))
    return tuple(ids.tolist()), tuple(instances.id_to_name[each] for each in ids.tolist()), boxes


def objects_of_corners(library: Any, scene_id: str, folder: Path) -> Objects:
    """Axis-aligned boxes round the corners of oriented ones."""
    del folder
    oriented, names = library.get_boxes(scene_id)
    corners = np.array([box.get_box_points() for box in oriented.values()]).reshape(-1, 8, 3)
    boxes = _boxes(corners.min(axis=1), corners.max(axis=1))
    return tuple(oriented), tuple(names[each] for each in oriented), boxes


@dataclass(frozen=True)
class Adapter:
    """What the two data sets do not share."""

    library: str
    """Their name in the library."""
    sensors: tuple[str, ...]
    needed: str
    """What a download holds: without it the library would look for lists in the network."""
    parents: tuple[str, ...]
    """Folders that hold a folder for each scene."""
    annotations: str
    """File of a scene that has objects."""
    objects: Callable[[Any, str, Path], Objects]


ADAPTERS: Mapping[str, Adapter] = {
    "scannetpp": Adapter(
        library="scannetppv2",
        sensors=("iphone",),
        needed="data",
        parents=("data",),
        annotations="scans/segments_anno.json",
        objects=objects_of_vertices,
    ),
    "arkitscenes": Adapter(
        library="arkitscenes",
        sensors=("lowres_wide", "mov"),
        needed="raw/metadata.csv",
        parents=("raw/Training", "raw/Validation"),
        annotations="{scene}_3dod_annotation.json",
        objects=objects_of_corners,
    ),
}


@contextmanager
def _faults_of(scene_id: str, folder: Path) -> Iterator[None]:
    """What the library raises is the scene's fault, for of damaged files it raises everything; but
    not where memory or disk are behind it, which it wraps."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        for cause in _causes(error):
            if fault := machine_fault(cause, folder):
                raise fault from error
        reason = f"scenezoo: {type(error).__name__}: {error}"
        raise SceneError(scene_id, reason, folder) from error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error and those behind it, apart from FFmpeg's: of damaged videos it says, in numbers of
    the system, that memory or rights are short."""
    while error is not None:
        if not type(error).__module__.startswith("av."):
            yield error
        error = error.__cause__ or error.__context__


def _names(path: Path) -> list[str]:
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a list of names of scenes: {error}") from error
    for number, line in enumerate(lines, 1):
        if line and not is_name(line):
            raise DataError(f"{path}: line {number}: {line!r} is no name of a scene")
    return sorted({line for line in lines if line})


def _boxes(low: NDArray[Any], high: NDArray[Any]) -> Float32:
    return np.concatenate([(low + high) / 2, high - low], axis=1).astype(np.float32)


def _cure(error: ImportError) -> str:
    return (
        f"needs the package scenezoo, which cannot be loaded ({error}): pip install "
        "-e '.[scenes]'; its Open3D wants the system's libusb-1.0-0, libgl1, libegl1, libgomp1"
    )
