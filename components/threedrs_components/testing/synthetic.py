"""Random scenes and questions of the right shapes, for tests and benchmarks. Nothing to learn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from threedrs_components.objectives.alignment.config import AlignmentConfig
from threedrs_components.objectives.alignment.head import AlignmentHead
from threedrs_components.objectives.alignment.objective import Alignment
from threedrs_components.objectives.grounding import GroundingConfig
from threedrs_components.objectives.objective import Objective
from threedrs_components.objectives.text import TextConfig
from threedrs_components.randomness import seeded
from threedrs_components.scenes.prepared import PreparedScene
from threedrs_components.scenes.token_geometry import TokenGeometry
from threedrs_components.students.micro_weights import micro_student
from threedrs_components.students.registry import STUDENTS
from threedrs_components.students.settings import MicroWidths
from threedrs_components.students.student import Student
from threedrs_components.students.tokenizer import COORD
from threedrs_components.teachers.map_choices import DEPTH_AND_WEIGHT
from threedrs_platform.records import FeatureMap, Sample
from threedrs_platform.store.features import (
    FeatureFolder,
    FeatureHeader,
    write_features,
)

TASKS = (TextConfig(), GroundingConfig())
"""The objectives of every training, at their released weights."""
WORDS = ("red", "blue", "green", "lamp", "table", "chair", "north", "south", "near", "far")


def random_scene(
    scene_id: str,
    seed: int,
    *,
    num_frames: int = 2,
    grid: int = 4,
    image_size: int = 64,
    objects: int = 3,
    proposals: int = 4,
) -> PreparedScene:
    """Noise images, coordinates in a room, a few boxes."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    cells = (num_frames, grid, grid)
    image_shape = (num_frames, image_size, image_size, 3)
    return PreparedScene(
        scene_id=scene_id,
        frame_names=tuple(f"frame-{index:06d}" for index in range(num_frames)),
        labels=("lamp",) * objects,
        images=torch.randint(0, 256, image_shape, generator=generator).to(torch.uint8),
        coordinates=uniform(*cells, 3) * 4 - 2,
        counts=torch.full(cells, 64, dtype=torch.int32),
        object_ids=torch.arange(objects) + 10,
        boxes=uniform(objects, 6) + 0.1,
        object_weights=_sparse(uniform(objects, *cells)),
        proposals=uniform(proposals, 6) + 0.1,
        proposal_weights=_sparse(uniform(proposals, *cells)),
        geometry=_random_geometry(cells, uniform),
    )


def random_samples(scene: PreparedScene, count: int, seed: int) -> list[Sample]:
    """Grounding questions, captions of a region, and questions with a word as answer, in turn."""
    chance = np.random.default_rng(seed)
    return [_sample(scene, index, chance) for index in range(count)]


def random_student(seed: int = 0, **choices: Any) -> Student:
    """A micro student of small widths with random weights; keywords change its configuration."""
    widths = MicroWidths(
        image_size=64, patch_size=8, vision_width=32, vision_ff=64, width=48, heads=4,
        key_value_heads=2, ff=96,
    )  # fmt: skip
    config = STUDENTS.read({"kind": "llava_video", "micro": widths.model_dump(), **choices})
    with seeded(seed):
        return micro_student(config, ["describe where is the a in .", *WORDS], seed)


def task_objectives(student: Student) -> list[Objective]:
    """The losses of `TASKS` for a student."""
    return [each.build(student) for each in TASKS]


def random_alignment(student: Student, settings: AlignmentConfig, width: int) -> Alignment:
    """An alignment whose micro-batches bring their features [S, F, P, P, width] with them."""
    nowhere = FeatureFolder(Path("no-such-folder"))
    widths = [student.width_at(place) for place in settings.layers]
    return Alignment(settings, AlignmentHead(settings, widths, width), nowhere)


def write_random_features(scene: PreparedScene, folder: Path, width: int, seed: int) -> None:
    """Features [F, P, P, width] of a teacher that knows nothing."""
    shape = (*scene.counts.shape, width)
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float16)
    _write(scene, folder, values)


def write_random_depth(scene: PreparedScene, folder: Path, seed: int) -> None:
    """Depth of a teacher that guesses, and by how much it is to count."""
    values = np.random.default_rng(seed).uniform(0.5, 2.0, (*scene.counts.shape, 2))
    _write(scene, folder, values.astype(np.float16), DEPTH_AND_WEIGHT)


def _write(
    scene: PreparedScene, folder: Path, values: NDArray[np.float16], output: str = ""
) -> None:
    header = FeatureHeader("fake", "0" * 64, "none", "none", -1, output)
    features = FeatureMap(scene.scene_id, scene.frame_names, values)
    write_features(folder / f"{scene.scene_id}.arrow", features, header)


def _random_geometry(cells: tuple[int, int, int], uniform: Callable[..., Tensor]) -> TokenGeometry:
    """Cameras that stand about and all look one way, at cells of any depth and slope."""
    num_frames, *grid = cells
    cameras = torch.eye(4).repeat(num_frames, 1, 1)
    cameras[:, :3, 3] = uniform(num_frames, 3)
    return TokenGeometry(
        depths=1 + 3 * uniform(*cells),
        normals=torch.nn.functional.normalize(uniform(*cells, 3) - 0.5, dim=-1),
        rays=uniform(*grid, 3),
        cameras=cameras,
    )


def _sparse(weights: Tensor) -> Tensor:
    return torch.where(weights > 0.6, weights, 0.0)


def _sample(scene: PreparedScene, index: int, chance: np.random.Generator) -> Sample:
    words = " ".join(chance.choice(WORDS, size=int(chance.integers(2, 7))))
    target = int(chance.integers(0, len(scene.object_ids)))
    box = tuple(scene.boxes[target].tolist())
    kind = ("ground", "caption", "question")[index % 3]
    prompt = {"ground": words, "caption": f"describe {COORD}", "question": f"where is {words}"}
    has_target = kind == "ground" and index % 4 != 0
    return Sample(
        sample_id=f"{scene.scene_id}/{index}",
        benchmark="synthetic",
        scene_id=scene.scene_id,
        kind="ground" if kind == "ground" else "text",
        prompt=prompt[kind],
        answers=() if kind == "ground" else (words,),
        target_ids=(int(scene.object_ids[target]),) if has_target else (),
        target_boxes=(box,) if has_target else (),
        box_input=box if kind == "caption" else None,
    )
