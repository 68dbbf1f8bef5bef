"""Single frames of a micro world as 2D tasks: what each pixel shows, what can be said of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from threedrs_components.scenes.frames import read_color
from threedrs_components.scenes.geometry import cell_sums
from threedrs_components.scenes.micro.furniture import CATEGORIES, COLOR_NAMES
from threedrs_components.scenes.micro.instances import read_instances
from threedrs_components.scenes.micro.language import vocabulary
from threedrs_components.scenes.prepared import PreparedScene
from threedrs_components.scenes.splits import scenes_of
from threedrs_platform.errors import DataError
from threedrs_platform.records import Sample, UInt8

VISIBLE_PIXELS = 24
"""An object smaller than this in a frame is not talked about."""
HELD_OUT_SHARE = 0.05
"""Share of the training scenes, the last ones, on which quality is measured."""
CAPTION_PROMPT = "describe <coord>"
"""As the micro preset words it: the student's vocabulary is small, and each word costs."""
PROMPT_WORDS = (
    "according and answer at be captures choices corresponding describe description detail "
    "directly focus following frames given identify information letter located lower may more of "
    "on option options or phrase please question questions relationships 's scene sentence simply "
    "single situation spatial these using video with word 3d : { }"
)
"""What the released prompts say, as read with their fields in braces. Fixed: another vocabulary is
another student, so a new prompt brings no words; those it lacks here read as unknown."""


@dataclass(frozen=True)
class MicroFrames:
    """N frames with their instance maps."""

    images: Tensor
    """[N, H, W, 3] uint8"""
    categories: Tensor
    """[N, H, W] uint8: 0 = room, else 1 + index into CATEGORIES"""
    colors: Tensor
    """[N, H, W] uint8: 0 = room, else 1 + index into COLOR_NAMES"""
    instances: Tensor
    """[N, H, W] uint8: 0 = room, else 1 + index of the scene's object"""
    names: tuple[tuple[tuple[str, str], ...], ...]
    """Per frame, colour and category of every object of its scene"""

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class FrameTask:
    """One frame as a scene of a single view, with all that is asked about it."""

    scene: PreparedScene
    samples: tuple[Sample, ...]


def read_frames(world: Path) -> tuple[MicroFrames, MicroFrames]:
    """Frames of the training scenes: those to learn from, and those held out.

    Raises:
        DataError: the world has too few training scenes.
        SceneError: a scene cannot be read.
    """
    scenes = scenes_of(world, "train")
    held_out = max(1, round(HELD_OUT_SHARE * len(scenes)))
    if len(scenes) <= held_out:
        raise DataError(f"{world}: {len(scenes)} training scenes are too few to hold any out")
    folders = [world / "scenes" / scene for scene in scenes]
    return _read(folders[:-held_out]), _read(folders[-held_out:])


def micro_texts() -> list[str]:
    """Text that holds every word a micro student may meet, in the released prompts, too."""
    return [*vocabulary(), PROMPT_WORDS, "? . , a an the"]


def frame_task(frames: MicroFrames, index: int, grid: int) -> FrameTask:
    """Captions, descriptions and colour questions about the objects visible in a frame."""
    instances = frames.instances[index].long()
    counts = torch.bincount(instances.flatten(), minlength=len(frames.names[index]) + 1)[1:]
    visible = [row for row, count in enumerate(counts.tolist()) if count >= VISIBLE_PIXELS]
    # Without any visible object: no masks, of the right size.
    masks = (
        torch.stack([instances == row + 1 for row in visible]) if visible else instances[None][:0]
    )
    cell = (instances.shape[0] // grid) * (instances.shape[1] // grid)
    weights = cell_sums(masks.float(), grid, grid)[:, None] / cell
    # There are no boxes in an image: rows are told apart by a number in place of a centre.
    boxes = torch.arange(len(visible), dtype=torch.float32)[:, None].repeat(1, 6)
    scene_id = f"frame{index}"
    scene = PreparedScene(
        scene_id=scene_id,
        frame_names=(scene_id,),
        labels=tuple(frames.names[index][row][1] for row in visible),
        images=frames.images[index][None],
        coordinates=torch.zeros(1, grid, grid, 3),
        counts=torch.zeros(1, grid, grid, dtype=torch.int32),
        object_ids=torch.arange(len(visible)),
        boxes=boxes,
        object_weights=weights,
        proposals=boxes,
        proposal_weights=weights,
    )
    return FrameTask(scene, tuple(_samples(scene, [frames.names[index][row] for row in visible])))


def _read(folders: Sequence[Path]) -> MicroFrames:
    images, categories, colors, instances = [], [], [], []
    names: list[tuple[tuple[str, str], ...]] = []
    for folder in folders:
        content = read_instances(folder)
        paths = sorted(folder.glob("frame-*.color.png"))
        images.append(np.stack([read_color(path) for path in paths]))
        instances.append(content.maps)
        categories.append(_class_map(content.maps, content.categories, CATEGORIES))
        colors.append(_class_map(content.maps, content.colors, COLOR_NAMES))
        names += [tuple(zip(content.colors, content.categories, strict=True))] * len(paths)
    return MicroFrames(
        torch.from_numpy(np.concatenate(images)),
        torch.from_numpy(np.concatenate(categories)),
        torch.from_numpy(np.concatenate(colors)),
        torch.from_numpy(np.concatenate(instances)),
        tuple(names),
    )


def _class_map(
    maps: UInt8,
    objects: Sequence[str],
    classes: Sequence[str],
) -> UInt8:
    lookup = np.array([0, *(1 + classes.index(name) for name in objects)], dtype=np.uint8)
    return lookup[maps]


def _samples(scene: PreparedScene, names: Sequence[tuple[str, str]]) -> list[Sample]:
    per_category = Counter(category for _, category in names)
    samples = []
    for row, (color, category) in enumerate(names):
        box = tuple(scene.boxes[row].tolist())
        name = f"{color} {category}"
        samples.append(
            Sample(
                sample_id=f"{scene.scene_id}/caption/{row}",
                benchmark="caption",
                scene_id=scene.scene_id,
                kind="text",
                prompt=CAPTION_PROMPT,
                answers=(f"a {name}",),
                box_input=box,
            )
        )
        samples.append(
            Sample(
                sample_id=f"{scene.scene_id}/ground/{row}",
                benchmark="ground",
                scene_id=scene.scene_id,
                kind="ground",
                prompt=f"the {name}",
                target_ids=(row,),
                target_boxes=(box,),
            )
        )
        if per_category[category] == 1:
            samples.append(
                Sample(
                    sample_id=f"{scene.scene_id}/color/{row}",
                    benchmark="color",
                    scene_id=scene.scene_id,
                    kind="text",
                    prompt=f"what color is the {category}?",
                    answers=(color,),
                )
            )
    return samples
