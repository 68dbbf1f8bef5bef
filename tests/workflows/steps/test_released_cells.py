"""Token cells against the released code's own way, written out, under the settings of presets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.prepared import PreparedScene, prepare_scene
from threedrs_components.students.position3d import voxel_steps
from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.records import Boxes, Scene
from threedrs_workflows.grid.cells import expand

SIZE, COVERED, TOKENS, PATCHES = 384, 378, 14, 27
BOXES = [
    [0.4, 0.2, 2.1, 1.0, 0.8, 1.2],
    [-1.3, 0.6, 3.0, 0.7, 0.7, 0.9],
    [0, 0, 0.1, 0.5, 0.5, 0.5],
]


def preset(name: str) -> PrepareConfig:
    grid = load_document(f"version: 1\nname: x\nbase: {{preset: {name}}}\n")
    return expand(grid).base.prepare


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Two frames of 480 x 640 depth pixels, a tenth of them without a reading."""
    rng = np.random.default_rng(3)
    u, v = np.meshgrid(np.arange(640), np.arange(480))
    depth = 2 + 0.6 * np.sin(u / 70) + 0.5 * np.cos(v / 45) + rng.normal(0, 0.05, (2, 480, 640))
    depth[rng.random(depth.shape) < 0.1] = 0
    intrinsics = np.array([[570, 0, 319.5], [0, 570, 239.5], [0, 0, 1]], np.float32)
    poses = np.tile(np.eye(4, dtype=np.float32), (2, 1, 1))
    poses[:, :3, 3] = [[0.1, 0.2, 0.05], [-0.4, 0.3, 0.15]]
    turn = np.eye(4, dtype=np.float32)
    turn[:2, :2] = [[np.cos(0.4), -np.sin(0.4)], [np.sin(0.4), np.cos(0.4)]]
    return Scene(
        scene_id="room",
        frame_names=("a", "b"),
        images=rng.integers(0, 255, (2, 48, 64, 3), dtype=np.uint8),
        depth=depth.astype(np.float32),
        color_intrinsics=np.array([[57, 0, 31.5], [0, 57, 23.5], [0, 0, 1]], np.float32),
        depth_intrinsics=intrinsics,
        camera_to_world=poses,
        axis_alignment=turn,
        objects=Boxes(tuple(range(3)), ("x",) * 3, np.array(BOXES, np.float32)),
    )


def released_map(scene: Scene) -> Tensor:
    """World coordinates [F, 378, 378, 3] of the pixels that the tower sees.

    A depth of zero is back-projected like any other, which gives the camera's centre. The map is
    brought to 384 x 384 by nearest neighbours and loses its last rows and columns.
    """
    points = np.zeros((len(scene.depth), *scene.depth.shape[1:], 3), np.float32)
    k = scene.depth_intrinsics
    for frame, depth in enumerate(scene.depth):
        v, u = np.indices(depth.shape)
        x, y = (u - k[0, 2]) / k[0, 0] * depth, (v - k[1, 2]) / k[1, 1] * depth
        camera = np.stack([x, y, depth, np.ones_like(depth)], -1).astype(np.float64)
        world = scene.axis_alignment.astype(np.float64) @ scene.camera_to_world[frame]
        points[frame] = (camera @ world.T)[..., :3]
    height, width = scene.depth.shape[1:]
    rows = np.floor(np.arange(SIZE) * (height / SIZE)).astype(int)
    columns = np.floor(np.arange(SIZE) * (width / SIZE)).astype(int)
    return torch.from_numpy(points[:, rows][:, :, columns][:, :COVERED, :COVERED])


def released_bins(points: Tensor) -> Tensor:
    """Bins [F, 14, 14, 3] of the mean of each cell, in the number format of the points."""
    means = avg_pool2d(points.permute(0, 3, 1, 2), COVERED // TOKENS).permute(0, 2, 3, 1)
    return bins_of(means)


def bins_of(coordinates: Tensor) -> Tensor:
    low = torch.tensor([-15, -15, -5], dtype=coordinates.dtype)
    high = torch.tensor([15, 15, 5], dtype=coordinates.dtype)
    clamped = torch.maximum(torch.minimum(coordinates, high), low)
    return torch.round((clamped - low) / 0.1)


def pixels_inside(points: Tensor, box: Tensor, side: int) -> Tensor:
    """[F, cells, cells] pixels of each cell of some side that are in a closed box."""
    low, high = box[:3] - box[3:] / 2, box[:3] + box[3:] / 2
    inside = ((points >= low) & (points <= high)).all(-1)
    cells = COVERED // side
    return inside.view(-1, cells, side, cells, side).sum((2, 4))


def counted(weights: Tensor, side: int) -> Tensor:
    pixels = weights * side * side
    assert (pixels - pixels.round()).abs().max() < 1e-3
    return pixels.round().long()


@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16", "float16"])
def test_cells_and_boxes_are_those_of_the_released_code(scene: Scene, arithmetic: str) -> None:
    released = preset("as_released").model_dump() | {"num_frames": 2, "arithmetic": arithmetic}
    prepared = prepare_scene(scene, BOXES, PrepareConfig.model_validate(released))
    dtype = getattr(torch, arithmetic)
    points = released_map(scene).to(dtype)
    assert torch.equal(voxel_steps(prepared.coordinates, 0.1), released_bins(points).float())
    for row, box in enumerate(torch.tensor(BOXES).to(dtype)):
        for weights in (prepared.object_weights, prepared.proposal_weights):
            assert torch.equal(counted(weights[row], 27), pixels_inside(points, box, 27))
        assert prepared.object_patches is not None
        patches = pixels_inside(points, box, 14)
        assert torch.equal(counted(prepared.object_patches[row], 14), patches)
    assert torch.equal(prepared.proposals, torch.tensor(BOXES).to(dtype).float())


def test_training_is_in_bfloat16_and_evaluation_in_float16_as_released() -> None:
    released, clean = preset("as_released"), preset("clean")
    assert (released.arithmetic, released.of_evaluation().arithmetic) == ("bfloat16", "float16")
    assert clean.of_evaluation() == clean and clean.arithmetic == "float32"


def clean_scene(scene: Scene, **changes: object) -> PreparedScene:
    settings = preset("clean").model_dump() | {"num_frames": 2} | changes
    return prepare_scene(scene, None, PrepareConfig.model_validate(settings))


def test_clean_averages_the_same_pixels_but_those_without_depth(scene: Scene) -> None:
    prepared, points = clean_scene(scene), released_map(scene)
    rows = torch.arange(SIZE)[:COVERED] * 480 // SIZE
    columns = torch.arange(SIZE)[:COVERED] * 640 // SIZE
    valid = torch.from_numpy(scene.depth > 0)[:, rows[:, None], columns]
    cells = (points.double() * valid[..., None]).view(2, TOKENS, 27, TOKENS, 27, 3).sum((2, 4))
    counts = valid.view(2, TOKENS, 27, TOKENS, 27).sum((2, 4))
    assert torch.equal(prepared.counts.long(), counts)
    means = cells / counts[..., None]
    assert (prepared.coordinates - means).abs().max() < 1e-6


def test_cells_of_the_whole_frame_lie_elsewhere(scene: Scene) -> None:
    """What the tower does not see moves cells, most at the lower right."""
    cut, whole = clean_scene(scene), clean_scene(scene, covered=None)
    apart = (cut.coordinates - whole.coordinates).norm(dim=-1)
    assert float(apart.median()) > 0.005
    assert apart[:, -4:, -4:].mean() > 3 * apart[:, :4, :4].mean()
