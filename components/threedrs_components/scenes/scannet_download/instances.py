"""Annotated objects of a ScanNet mesh: its segments, and the groups of them that are objects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from threedrs_components.json_files import read_json
from threedrs_components.scenes.unreadable import scene_errors
from threedrs_platform.records import Boxes, Float32


@dataclass(frozen=True)
class Instances:
    """Objects of a scene, those that have vertices, and the ids of those that have none."""

    objects: Boxes
    vanished: tuple[int, ...]
    twins: tuple[int, ...] = ()
    """Objects that stand again under a later id, segment for segment, as in scene0217_00."""


def read_instances(
    scene_id: str, aligned: Float32, segments_file: Path, groups_file: Path
) -> Instances:
    """Boxes of all objects, from the lowest to the highest of their vertices.

    As released: a segment belongs to the last group that lists it, no class is left out, and an
    object whose segments all went to later groups vanishes. Ids are those of the annotation. Where
    a later group has the very same segments both ids keep the box: annotations may name either.

    Args:
        scene_id: for errors.
        aligned: [V, 3] vertices of the mesh, axis-aligned.
        segments_file: segment of every vertex.
        groups_file: objects, each a list of segments.

    Raises:
        SceneError: unreadable, of another scene or of another mesh.
    """
    with scene_errors(scene_id, segments_file, "file of segments"):
        segments = _segments(_of_scene(segments_file, scene_id), len(aligned))
    with scene_errors(scene_id, groups_file, "aggregation"):
        content = _of_scene(groups_file, scene_id)
        named = str(content.get("segmentsFile", segments_file.name))
        if not named.endswith(segments_file.name.removeprefix(scene_id)):
            raise ValueError(f"it groups the segments of {named}, not of {segments_file.name}")
        return _grouped(content["segGroups"], segments, aligned)


def _of_scene(path: Path, scene_id: str) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"a JSON object was expected, this is a {type(content).__name__}")
    named = content.get("sceneId", scene_id)
    if not str(named).endswith(scene_id):
        raise ValueError(f"it is of the scene {named}")
    return content


def _segments(content: dict[str, Any], num_vertices: int) -> NDArray[np.int64]:
    segments = _whole_numbers(content["segIndices"], "segIndices")
    if len(segments) != num_vertices:
        raise ValueError(f"it has {len(segments)} entries, the mesh has {num_vertices} vertices")
    return segments


def _whole_numbers(values: Any, what: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.size == 0:
        return np.zeros(0, np.int64)
    if array.ndim != 1 or array.dtype.kind != "i" or (array < 0).any():
        raise ValueError(f"{what} must be a list of whole numbers")
    return array.astype(np.int64)


def _grouped(groups: Any, segments: NDArray[np.int64], aligned: Float32) -> Instances:
    known, vertex_segment = np.unique(segments, return_inverse=True)
    owner = np.full(len(known), -1, dtype=np.int64)
    labels: dict[int, str] = {}
    members: dict[int, bytes] = {}
    for group in groups:
        object_id, label = group["objectId"], group["label"]
        if type(object_id) is not int or object_id < 0 or type(label) is not str:
            raise ValueError(f"objectId {object_id!r}, label {label!r}: a number and a text")
        if object_id in labels:
            raise ValueError(f"object {object_id} stands in it twice")
        listed = _whole_numbers(group["segments"], f"segments of object {object_id}")
        rows = np.searchsorted(known, listed)
        if (rows == len(known)).any() or (known[rows] != listed).any():
            raise ValueError(f"object {object_id} has a segment that no vertex has")
        owner[rows] = object_id
        labels[object_id] = label
        members[object_id] = np.unique(listed).tobytes()
    boxes = _boxes(owner[vertex_segment], aligned)
    alive = {members[object_id]: object_id for object_id in boxes}
    twins = {
        object_id: boxes[alive[segments]]
        for object_id, segments in members.items()
        if object_id not in boxes and segments in alive
    }
    boxes = dict(sorted({**boxes, **twins}.items()))
    array = np.array(list(boxes.values()), dtype=np.float32).reshape(-1, 6)
    objects = Boxes(tuple(boxes), tuple(labels[each] for each in boxes), array)
    return Instances(objects, tuple(sorted(set(labels) - set(boxes))), tuple(sorted(twins)))


def _boxes(owner: NDArray[np.int64], aligned: Float32) -> dict[int, Float32]:
    """Box of each object that owns vertices; `owner` is [V], -1 for nobody."""
    order = np.argsort(owner, kind="stable")
    ids, starts = np.unique(owner[order], return_index=True)
    low = np.minimum.reduceat(aligned[order], starts)
    high = np.maximum.reduceat(aligned[order], starts)
    boxes = np.concatenate([(low + high) / 2, high - low], axis=1)
    return {key: box for key, box in zip(ids.tolist(), boxes, strict=True) if key >= 0}
