"""One scene of a ScanNet download into the folder of posed images that grids read."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threedrs_components.scenes.boxes import write_scene_boxes
from threedrs_components.scenes.frames import depth_to_millimetres, read_depth
from threedrs_components.scenes.png import depth_png
from threedrs_components.scenes.rgbd_folder import MIN_FRAMES
from threedrs_components.scenes.scannet_download.alignment import aligned, read_alignment
from threedrs_components.scenes.scannet_download.box_points import BoxPoints
from threedrs_components.scenes.scannet_download.instances import Instances, read_instances
from threedrs_components.scenes.scannet_download.masks import Proposals, read_proposals
from threedrs_components.scenes.scannet_download.ply import read_vertices
from threedrs_components.scenes.scannet_download.scene_record import (
    RECORD,
    ConvertedScene,
    SceneJob,
    read_record,
)
from threedrs_components.scenes.scannet_download.sens import SensorStream, is_rigid
from threedrs_components.scenes.unreadable import scene_errors
from threedrs_platform.errors import SceneError
from threedrs_platform.records import Boxes, Float32
from threedrs_platform.storage import storage_errors

BOXES = "boxes.json"
FEWEST_BOXES, LEAST_SHARE = 4, 0.5
"""Of so many boxes at least this share must hold a point of the frames."""
SAME_MATRIX, SAME_FOCAL = 1e-3, 1e-2
"""How far EmbodiedScan's alignment, and its intrinsics in focal lengths, may be from the scan's."""


def convert_scene(job: SceneJob) -> ConvertedScene:
    """Write a scene whole or not at all; what stood in its place is replaced, or made unfinished.

    Without its stream a scene that was made by the same settings keeps its frames, and gets boxes
    and proposals of the files that are there now. If it cannot, it stays as it is.

    Raises:
        SceneError: a file is missing, damaged, or of another scene.
        StorageError: a file cannot be read for reasons of the machine, or the output not written.
    """
    began = time.monotonic()
    before = None if job.files.stream.is_file() else _made_before(job)
    with storage_errors(f"write {job.folder}"), _partial_folder(job) as partial:
        if before is None:
            (job.folder / RECORD).unlink(missing_ok=True)
        scene = _Conversion(job, partial, before).run()
        scene = dataclasses.replace(scene, seconds=round(time.monotonic() - began, 2))
        (partial / RECORD).write_text(json.dumps(dataclasses.asdict(scene)) + "\n")
        if before is None:
            if job.folder.exists():
                shutil.rmtree(job.folder)
            partial.rename(job.folder)
        else:  # the record last: killed before, it has the old inputs, and this is done again
            for name in (BOXES, RECORD):
                if (partial / name).is_file():
                    (partial / name).replace(job.folder / name)
        return scene


def _made_before(job: SceneJob) -> ConvertedScene:
    """The scene that still has its frames though the stream is gone."""
    found = read_record(job.folder)
    if found is None or found.settings != job.settings():
        reason = "stream is missing"
        if found is not None:
            reason += "; the scene stays as it is, other settings would need it"
        raise SceneError(job.files.scene_id, reason, job.files.stream)
    return found


@contextlib.contextmanager
def _partial_folder(job: SceneJob) -> Iterator[Path]:
    """A folder beside the scene's that nobody else knows, and that does not stay."""
    partial = job.out / f".{job.files.scene_id}.{uuid.uuid4().hex}"
    try:
        partial.mkdir(parents=True)
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@dataclass(frozen=True)
class _Film:
    """What a scene has of its stream."""

    frames_in_stream: int
    frames: int
    without_pose: int
    listed: list[str]
    depth_intrinsics: Float32
    """[3, 3]"""
    remarks: list[str]


class _Conversion:
    """The conversion of one scene into a folder that nobody else knows yet."""

    def __init__(self, job: SceneJob, folder: Path, before: ConvertedScene | None) -> None:
        self.job, self.files, self.folder, self.before = job, job.files, folder, before
        self.inputs = job.inputs()
        if before is not None:
            self.inputs["stream"] = before.inputs["stream"]
        self.remarks: list[str] = []

    def run(self) -> ConvertedScene:
        """Annotations first, for they are quickly found to be wrong; then the stream."""
        alignment = self._alignment()
        instances, proposals = self._boxes(alignment)
        boxes = instances.objects
        points = BoxPoints(boxes.boxes, alignment)
        film = self._film(points) if self.before is None else self._film_before(self.before, points)
        self._check_share(points)
        if self._is_annotated:
            extra = {"axis_alignment": alignment.tolist()}
            write_scene_boxes(self.folder / BOXES, boxes, **extra)
        known = self.job.labels
        return ConvertedScene(
            scene=self.files.scene_id,
            split=self.job.split,
            settings=self.job.settings(),
            config=self.job.config.canonical(),
            inputs=self.inputs,
            frames_in_stream=film.frames_in_stream,
            frames=film.frames,
            without_pose=film.without_pose,
            listed=film.listed,
            axis_alignment=alignment.tolist(),
            depth_intrinsics=film.depth_intrinsics.tolist(),
            boxes={
                str(key): box
                for key, box in zip(boxes.object_ids, boxes.boxes.tolist(), strict=True)
            },
            vanished=list(instances.vanished),
            unknown_labels=sorted(set(boxes.labels) - known) if known is not None else [],
            proposals=None if proposals is None else proposals.boxes.tolist(),
            empty_masks=proposals.empty if proposals else 0,
            boxes_with_points=points.share(),
            stream_remarks=film.remarks,
            remarks=[*self.remarks, *film.remarks],
            seconds=0.0,
        )

    @property
    def _is_annotated(self) -> bool:
        return not (self.files.is_test or self.job.split == "test")

    def _fault(self, reason: str, path: Path | None = None) -> SceneError:
        return SceneError(self.files.scene_id, reason, path)

    def _alignment(self) -> NDArray[np.float64]:
        path, listed = self.files.alignment, self.job.listed
        found = None
        if self._is_annotated or path.is_file():
            found = read_alignment(self.files.scene_id, path)
        if listed is not None:
            given = listed.axis_alignment.astype(np.float64)
            if found is not None and np.abs(found - given).max() > SAME_MATRIX:
                raise self._fault("its axis alignment is not that of the EmbodiedScan list", path)
            return given if found is None else found
        if found is None:
            self.remarks.append("no axisAlignment; it stays as it was scanned")
        return np.eye(4) if found is None else found

    def _boxes(self, alignment: NDArray[np.float64]) -> tuple[Instances, Proposals | None]:
        instances = Instances(Boxes((), (), np.zeros((0, 6), np.float32)), ())
        if not self._is_annotated and self.job.masks is None:
            return instances, None
        scene_id, files = self.files.scene_id, self.files
        vertices = aligned(read_vertices(scene_id, files.mesh), alignment)
        if self._is_annotated:
            single = vertices.astype(np.float32)
            instances = read_instances(scene_id, single, files.segments, files.groups)
        if instances.twins:
            count = len(instances.twins)
            self.remarks.append(f"{count} objects are annotated twice; both ids have the box")
        if self.job.masks is None:
            return instances, None
        most = self.job.config.max_proposals
        return instances, read_proposals(scene_id, self.job.masks, vertices, most)

    def _depth_intrinsics(self, stored: Float32) -> Float32:
        """[3, 3]; those of EmbodiedScan if it lists the scene."""
        if self.job.listed is None:
            return stored[:3, :3]
        given = self.job.listed.depth_intrinsics
        away = np.abs(given - stored[:3, :3])
        if away[:2].max() > SAME_FOCAL * stored[0, 0] or away[2].any():
            raise self._fault("its depth intrinsics are not those of the EmbodiedScan list")
        return given

    def _film(self, points: BoxPoints) -> _Film:
        """Write what is wanted of the stream."""
        with SensorStream(self.files.scene_id, self.files.stream) as stream:
            header = stream.header
            depth_intrinsics = self._depth_intrinsics(header.depth_intrinsics)
            names, posed = self._frames(stream, points, depth_intrinsics)
            for name, matrix in (
                ("intrinsic.txt", header.color_intrinsics),
                ("depth_intrinsic.txt", header.depth_intrinsics),
            ):
                _write_matrix(self.folder / name, matrix)
        listed, remark = self._listed(posed)
        return _Film(
            frames_in_stream=header.num_frames,
            frames=len(names),
            without_pose=len(names) - len(posed),
            listed=listed,
            depth_intrinsics=depth_intrinsics,
            remarks=[text for text in (stream.remark, remark) if text],
        )

    def _film_before(self, before: ConvertedScene, points: BoxPoints) -> _Film:
        """What was written of the stream before it was removed."""
        intrinsics = np.array(before.depth_intrinsics, dtype=np.float32)
        folder = self.job.folder
        for path in sorted(folder.glob("[0-9]*.txt")):
            with scene_errors(self.files.scene_id, path, "frame written before"):
                pose = np.loadtxt(path).reshape(4, 4).astype(np.float32)
                if is_rigid(pose):
                    depth = depth_to_millimetres(read_depth(path.with_suffix(".png")))
                    points.add(depth, pose, intrinsics)
        return _Film(
            frames_in_stream=before.frames_in_stream,
            frames=before.frames,
            without_pose=before.without_pose,
            listed=before.listed,
            depth_intrinsics=intrinsics,
            remarks=before.stream_remarks,
        )

    def _frames(
        self, stream: SensorStream, points: BoxPoints, depth_intrinsics: Float32
    ) -> tuple[list[str], list[str]]:
        """Write the wanted frames; returns the names of all, and of those with a pose."""
        wanted = set(range(0, stream.header.num_frames, self.job.config.frame_step))
        if self.job.listed is not None:
            wanted |= {self._index(name, stream) for name in self.job.listed.frame_names}
        names, posed = [], []
        for frame in stream.frames(wanted):
            name = f"{frame.index:05d}"
            jpeg = stream.jpeg(frame, self.job.config.jpeg == "reencode")
            depth = stream.depth(frame)
            (self.folder / f"{name}.jpg").write_bytes(jpeg)
            (self.folder / f"{name}.png").write_bytes(depth_png(depth))
            _write_matrix(self.folder / f"{name}.txt", frame.pose)
            names.append(name)
            if frame.has_pose:
                posed.append(name)
                points.add(depth, frame.pose, depth_intrinsics)
        if not posed:
            raise self._fault("no frame has a pose", self.files.stream)
        return names, posed

    def _index(self, name: str, stream: SensorStream) -> int:
        index = int(name) if name.isascii() and name.isdigit() else -1
        if not 0 <= index < stream.header.num_frames or f"{index:05d}" != name:
            frames = stream.header.num_frames
            raise self._fault(f"EmbodiedScan lists frame {name}, the stream has {frames}")
        return index

    def _listed(self, posed: list[str]) -> tuple[list[str], str]:
        """Frames that a student may see, and what is to be said of the others."""
        if self.job.listed is None:
            return posed, ""
        names = self.job.listed.frame_names
        having_pose = set(posed)
        left = [name for name in names if name in having_pose]
        if len(left) == len(names):
            return left, ""
        first = next(name for name in names if name not in having_pose)
        lost = f"{len(names) - len(left)} of {len(names)} frames that EmbodiedScan lists have no "
        lost += f"pose (first {first})"
        if len(left) < MIN_FRAMES:
            raise self._fault(f"{lost}; {MIN_FRAMES} must be left", self.files.stream)
        return left, f"{lost} and are left out"

    def _check_share(self, points: BoxPoints) -> None:
        value = points.share()
        if value is not None and len(points.boxes) >= FEWEST_BOXES and value < LEAST_SHARE:
            raise self._fault(
                f"only {value:.0%} of its boxes hold a point of its frames: mesh, alignment or "
                "stream are of another scene",
                self.files.mesh,
            )


def _write_matrix(path: Path, matrix: Float32) -> None:
    """Six decimals, as the released script writes."""
    rows: list[list[Any]] = matrix.tolist()
    path.write_text("".join(" ".join(f"{value:f}" for value in row) + "\n" for row in rows))
