"""One micro scene: layout, cameras and frames, a pure function of (seed, split, index)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from threedrs_components.scenes.micro.render import Rendering, largest_share, render
from threedrs_components.scenes.micro.rooms import (
    Layout,
    intrinsics,
    random_cameras,
    random_layout,
    scene_generator,
)
from threedrs_platform.records import Float32, Scene

if TYPE_CHECKING:
    from threedrs_components.scenes.micro.config import MicroWorldConfig

FIELD_OF_VIEW = 80.0
SEEN_SHARE = 0.004
"""Share of a frame's pixels that each object must fill in at least one frame (16 of 64 x 64)."""
CAMERA_TRIES = 8
"""Sets of cameras tried before the room itself is drawn anew."""


@dataclass(frozen=True)
class MicroScene:
    """A rendered room. `scene_id` is split and index; frames carry no order."""

    scene_id: str
    layout: Layout
    camera_to_world: Float32
    """[F, 4, 4]"""
    intrinsics: Float32
    """[3, 3], shared by colour and depth"""
    rendering: Rendering

    @property
    def frame_names(self) -> tuple[str, ...]:
        """frame-000000, frame-000001, ..."""
        return tuple(f"frame-{index:06d}" for index in range(len(self.camera_to_world)))

    def record(self) -> Scene:
        """The scene as every other room reads it, with exact depth."""
        return Scene(
            scene_id=self.scene_id,
            frame_names=self.frame_names,
            images=self.rendering.images,
            depth=self.rendering.depth,
            color_intrinsics=self.intrinsics,
            depth_intrinsics=self.intrinsics,
            camera_to_world=self.camera_to_world,
            axis_alignment=np.eye(4, dtype=np.float32),
            objects=self.layout.objects(),
        )


def scene_name(split: str, index: int) -> str:
    """Scene id: sorts like the index."""
    return f"{split}{index:05d}"


def make_scene(config: MicroWorldConfig, split: str, index: int) -> MicroScene:
    """Draw and render one scene in which every object can be seen somewhere.

    Cameras are drawn independently of each other and of the objects; a whole set is drawn anew
    if it leaves an object unseen, so that no frame position means anything.
    """
    rng = scene_generator(config.seed, split, index)
    size = config.image_size
    matrix = intrinsics(size, size, FIELD_OF_VIEW)
    while True:
        layout = random_layout(rng, config.min_objects, config.max_objects)
        for _ in range(CAMERA_TRIES):
            cameras = random_cameras(rng, layout, config.num_frames)
            rendering = render(layout, cameras, matrix, size, size)
            shares = largest_share(rendering.instances, len(layout.pieces))
            if (shares >= SEEN_SHARE).all():
                name = scene_name(split, index)
                return MicroScene(name, layout, cameras, matrix, rendering)
