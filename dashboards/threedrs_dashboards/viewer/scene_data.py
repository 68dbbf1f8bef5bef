"""One scene of a run as the viewer needs it: prepared tokens, and the RGB-D frames behind them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from threedrs_components.scenes.frames import kept_frames
from threedrs_components.scenes.geometry import world_coordinates
from threedrs_components.scenes.prepared import PreparedScene, PreparedScenes
from threedrs_components.scenes.registry import open_scenes
from threedrs_dashboards.viewer.cells import ViewedCell
from threedrs_dashboards.viewer.maps import Float32, UInt8
from threedrs_dashboards.viewer.missing import Missing
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import ThreedrsError
from threedrs_platform.records import Scene
from threedrs_platform.store.artifacts import ArtifactStore

KEPT_SCENES = 4


@dataclass(frozen=True)
class PointCloud:
    """Points in metres, z up, with their colours."""

    points: Float32
    """[N, 3]"""
    colours: UInt8
    """[N, 3]"""


@dataclass(frozen=True)
class SceneData:
    """A prepared scene, with its RGB-D frames where they can still be read."""

    prepared: PreparedScene
    frames: Scene | None
    why_no_frames: str = ""

    @property
    def cameras(self) -> Float32 | None:
        """[F, 3] positions in the aligned world, metres."""
        if self.frames is None:
            return None
        aligned = self.frames.axis_alignment @ self.frames.camera_to_world
        positions: Float32 = aligned[:, :3, 3].astype(np.float32)
        return positions


def scene_ids(cell: ViewedCell, store: ArtifactStore) -> tuple[str, ...]:
    """Scenes that were prepared for a cell, sorted."""
    return _prepared_ids(cell.folder("prepare", store))


def open_prepared(cell: ViewedCell, scene_id: str, store: ArtifactStore) -> PreparedScene:
    """One scene without the frames behind it.

    Raises:
        Missing: the cell has no such scene.
    """
    return PreparedScenes(_folder_with(cell, scene_id, store))[scene_id]


def open_scene(cell: ViewedCell, scene_id: str, store: ArtifactStore) -> SceneData:
    """One scene. Ids are looked up, never joined to a path before they are known.

    Raises:
        Missing: the cell has no such scene.
    """
    folder = _folder_with(cell, scene_id, store)
    settings = json.dumps(cell.params["scenes"])
    return _open(folder, cell.folder("scenes", store), settings, scene_id)


def _folder_with(cell: ViewedCell, scene_id: str, store: ArtifactStore) -> Path:
    """Of the prepared scenes, one of which is asked for."""
    folder = cell.folder("prepare", store)
    known = _prepared_ids(folder)
    if scene_id not in known:
        guess = did_you_mean(scene_id, known)
        if not guess.endswith("?"):  # nothing is near: a few ids say more than thousands
            guess = f"; it has {len(known)}" + (f", e.g. {known[0]!r}" if known else "")
        raise Missing(f"{cell.title} has no scene {scene_id!r}{guess}")
    return folder


@lru_cache(maxsize=8)
def _prepared_ids(folder: Path) -> tuple[str, ...]:
    return tuple(PreparedScenes(folder).scenes())


@lru_cache(maxsize=KEPT_SCENES)
def _open(prepared_folder: Path, scenes_folder: Path, settings: str, scene_id: str) -> SceneData:
    prepared = PreparedScenes(prepared_folder)[scene_id]
    try:
        frames = _frames(scenes_folder, json.loads(settings), prepared)
    except ThreedrsError as error:  # data outside the workspace may be gone; tokens are still here
        return SceneData(prepared, None, str(error))
    if frames.frame_names != prepared.frame_names:
        return SceneData(prepared, None, "its folder now holds other frames than were prepared")
    return SceneData(prepared, frames)


def _frames(scenes: Path, settings: dict[str, Any], prepared: PreparedScene) -> Scene:
    """Its frames by name; another scene, of all its frames, where some are gone."""
    scene = open_scenes(scenes, settings).load(prepared.scene_id)
    at = {name: index for index, name in reversed([*enumerate(scene.frame_names)])}
    if not at.keys() >= set(prepared.frame_names):
        return scene
    return kept_frames(scene, [at[name] for name in prepared.frame_names])


def point_cloud(scene: SceneData, most: int) -> PointCloud:
    """At most `most` points, evenly taken from the valid depth pixels of all frames.

    Without depth: the tokens' mean coordinates, grey.
    """
    if scene.frames is None:
        seen = scene.prepared.coordinates[scene.prepared.counts > 0].numpy()
        return PointCloud(seen[:most], np.full((len(seen[:most]), 3), 128, np.uint8))
    num_frames = len(scene.frames.frame_names)
    parts = [_frame_points(scene.frames, frame, most // num_frames) for frame in range(num_frames)]
    return PointCloud(
        np.concatenate([points for points, _ in parts]),
        np.concatenate([colours for _, colours in parts]),
    )


def _frame_points(scene: Scene, frame: int, most: int) -> tuple[Float32, UInt8]:
    """One frame at a time, so that a scan of many large frames fits into memory."""
    points, valid = world_coordinates(
        torch.from_numpy(scene.depth[frame : frame + 1]),
        torch.from_numpy(scene.depth_intrinsics),
        torch.from_numpy(scene.camera_to_world[frame : frame + 1]),
        torch.from_numpy(scene.axis_alignment),
    )
    rows, columns = np.nonzero(valid[0].numpy())
    chosen = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)
    rows, columns = rows[chosen], columns[chosen]
    colours = scene.images[frame][
        _scaled(rows, scene.depth.shape[1], scene.images.shape[1]),
        _scaled(columns, scene.depth.shape[2], scene.images.shape[2]),
    ]
    return points[0].numpy()[rows, columns], colours


def _scaled(index: NDArray[np.int64], length: int, other: int) -> NDArray[np.int64]:
    scaled: NDArray[np.int64] = index * other // length
    return scaled
