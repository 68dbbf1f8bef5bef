"""Writing a micro world: scene folders, splits, annotations, proposals, and what is known of it."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from threedrs_components.scenes.boxes import write_box_lists, write_scene_boxes
from threedrs_components.scenes.frames import (
    depth_to_millimetres,
)
from threedrs_components.scenes.micro.annotations import Records, annotate, write_annotations
from threedrs_components.scenes.micro.control import (
    ObjectTraces,
    content_free_r2,
    join_traces,
    object_traces,
)
from threedrs_components.scenes.micro.proposals import propose
from threedrs_components.scenes.micro.rooms import scene_generator
from threedrs_components.scenes.micro.scene import MicroScene, make_scene, scene_name
from threedrs_components.scenes.png import write_png
from threedrs_components.scenes.settings import Role
from threedrs_platform.records import Float32

if TYPE_CHECKING:
    from threedrs_components.scenes.micro.config import MicroWorldConfig

Progress = Callable[[int, int, str], None]

PROPOSAL_PURPOSE = 2
BOX_DIGITS = 4
"""Of boxes in metres."""
HELD_OUT_TEACHER_SHARE = 0.05
"""Share of the teacher's scenes on which its quality is measured."""
SCENES_PER_TASK = 8
"""Scenes a rendering process takes at a time."""


@dataclass(frozen=True)
class SceneSummary:
    """What the world keeps of a scene once its folder is written."""

    scene_id: str
    split: str
    boxes: Float32
    records: Records
    proposals: Float32
    traces: ObjectTraces


@dataclass(frozen=True)
class SceneJob:
    """One scene to be rendered and written."""

    config: MicroWorldConfig
    split: str
    index: int
    folder: str


def write_world(
    config: MicroWorldConfig,
    root: Path,
    split_role: Role = "student",
    progress: Progress | None = None,
    workers: int = 1,
) -> dict[str, Any]:
    """Render a world and write it under `root`; returns what is also in `world.json`.

    "student": train and val scenes, splits, annotations, proposals, the content-free control.
    "teacher": scenes of another seed stream, splits only. Same config, same files, whatever
    the number of workers.
    """
    (root / "scenes").mkdir(parents=True, exist_ok=True)
    jobs = [
        SceneJob(config, split, index, str(root / "scenes"))
        for split, count in _sizes(config, split_role).items()
        for index in range(count)
    ]
    summaries: list[SceneSummary] = []
    for summary in _run(jobs, workers):
        summaries.append(summary)
        if progress is not None:
            progress(len(summaries), len(jobs), summary.scene_id)
    world: dict[str, Any] = {"role": split_role, "config": config.canonical()}
    splits = _student_splits(config) if split_role == "student" else _teacher_splits(config)
    _write_json(root / "splits.json", splits)
    world["scenes"] = {split: len(names) for split, names in splits.items()}
    world["objects"] = int(sum(len(summary.boxes) for summary in summaries))
    if split_role == "student":
        world.update(_write_student_files(root, splits, summaries))
    _write_json(root / "world.json", world)
    return world


def write_scene(scene: MicroScene, folder: Path, *, with_instances: bool) -> None:
    """Write one scene as a posed RGB-D folder, optionally with instance maps."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = scene.rendering
    _write_matrix(folder / "camera-intrinsics.txt", scene.intrinsics)
    for index, name in enumerate(scene.frame_names):
        write_png(folder / f"{name}.color.png", frames.images[index])
        write_png(folder / f"{name}.depth.png", depth_to_millimetres(frames.depth[index]))
        _write_matrix(folder / f"{name}.pose.txt", scene.camera_to_world[index])
        if with_instances:
            write_png(folder / f"{name}.instance.png", frames.instances[index])
    pieces = scene.layout.pieces
    write_scene_boxes(
        folder / "boxes.json",
        scene.layout.objects(),
        digits=BOX_DIGITS,
        categories=[piece.category for piece in pieces],
        colors=[piece.color for piece in pieces],
    )


def _sizes(config: MicroWorldConfig, role: Role) -> dict[str, int]:
    if role == "teacher":
        return {"teacher": config.teacher_scenes}
    return {"train": config.train, "val": config.val}


def _student_splits(config: MicroWorldConfig) -> dict[str, list[str]]:
    train = [scene_name("train", index) for index in range(config.train)]
    return {
        "train": train,
        "text": train[: config.text],
        "probe": train[config.train - max(1, config.train // 3) :],
        "val": [scene_name("val", index) for index in range(config.val)],
    }


def _teacher_splits(config: MicroWorldConfig) -> dict[str, list[str]]:
    names = [scene_name("teacher", index) for index in range(config.teacher_scenes)]
    held_out = min(len(names) - 1, max(1, round(HELD_OUT_TEACHER_SHARE * len(names))))
    return {"train": names[: len(names) - held_out], "val": names[len(names) - held_out :]}


def _run(jobs: list[SceneJob], workers: int) -> Iterator[SceneSummary]:
    """Do all jobs, in order, in this process or in several."""
    if workers <= 1:
        yield from map(_do, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        yield from pool.map(_do, jobs, chunksize=SCENES_PER_TASK)


def _do(job: SceneJob) -> SceneSummary:
    config = job.config
    scene = make_scene(config, job.split, job.index)
    folder = Path(job.folder) / scene.scene_id
    write_scene(scene, folder, with_instances=job.split == "train")
    boxes = scene.layout.objects().boxes
    rng = scene_generator(config.seed, job.split, job.index, PROPOSAL_PURPOSE)
    is_val = job.split == "val"
    return SceneSummary(
        scene_id=scene.scene_id,
        split=job.split,
        boxes=boxes,
        records=annotate(config.seed, job.split, job.index, scene.scene_id, scene.layout),
        proposals=propose(boxes, scene.layout.room, rng) if is_val else boxes,
        traces=object_traces(scene.rendering.instances, boxes),
    )


def _write_student_files(
    root: Path, splits: dict[str, list[str]], summaries: list[SceneSummary]
) -> dict[str, Any]:
    by_id = {summary.scene_id: summary for summary in summaries}
    (root / "proposals").mkdir(exist_ok=True)
    tasks = {}
    for split, annotated in (("train", "text"), ("val", "val")):
        records = [by_id[scene].records for scene in splits[annotated]]
        tasks[split] = write_annotations(root / "annotations", split, records)
        proposals = {scene: by_id[scene].proposals for scene in splits[split]}
        path = root / "proposals" / f"{split}.json"
        write_box_lists(path, proposals, digits=BOX_DIGITS)
    fit, test = (
        join_traces([by_id[scene].traces for scene in splits[split]]) for split in ("train", "val")
    )
    east, north = content_free_r2(fit, test)
    control = {
        "r2_east": round(east, 4),
        "r2_north": round(north, 4),
        "fit_objects": len(fit.positions),
        "test_objects": len(test.positions),
    }
    return {"tasks": tasks, "content_free_control": control}


def _write_matrix(path: Path, matrix: NDArray[np.float32]) -> None:
    lines = [" ".join(f"{value:.9g}" for value in row) for row in matrix.tolist()]
    path.write_text("\n".join(lines) + "\n")


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n")
