"""Rooms from above: against a slow loop, ceilings, worlds that nobody aligned, and refusals."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from threedrs_components.scenes.birds_eye import birds_eye_view, shrunk
from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.scene import MicroScene, make_scene
from threedrs_components.scenes.prepare_config import ChecksConfig, PrepareConfig
from threedrs_components.scenes.prepared import (
    PreparedScene,
    PreparedScenes,
    prepare_scene,
    scene_birds_eye,
    scene_points,
    write_prepared,
)
from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_platform.errors import SceneError
from threedrs_platform.records import Scene

SIDE = 32


def room(index: int = 0) -> MicroScene:
    return make_scene(MicroWorldConfig(num_frames=4), "train", index)


def prepared(scene: Scene, side: int | None = SIDE) -> PreparedScene:
    config = PrepareConfig(num_frames=4, birds_eye=side, checks=ChecksConfig(mode="skip"))
    return prepare_scene(scene, None, config)


def slow_view(points: Tensor, colours: Tensor, side: int) -> Tensor:
    """Pixel by pixel, of points [n, 3] that are all known, where z is up."""
    heights = sorted(points[:, 2].tolist())
    roof = heights[round(0.01 * (len(heights) - 1))] + 2.0
    low = [
        (point, colour)
        for point, colour in zip(points.tolist(), colours.tolist(), strict=True)
        if point[2] <= roof
    ]
    ends = []
    for axis in (0, 1):
        values = sorted(point[axis] for point, _ in low)
        last = len(values) - 1
        ends.append((values[round(0.005 * last)], values[round(0.995 * last)]))
    width = max(high - lowest for lowest, high in ends)
    (left, right), (bottom, top) = ends
    cells: dict[tuple[int, int], list[tuple[float, list[int]]]] = {}
    for (x, y, z), colour in low:
        column = np.floor(((x - (left + right) / 2) / width + 0.5) * side)
        row = np.floor((0.5 - (y - (bottom + top) / 2) / width) * side)
        if left <= x <= right:
            column = min(max(column, 0), side - 1)
        if bottom <= y <= top:
            row = min(max(row, 0), side - 1)
        if 0 <= row < side and 0 <= column < side:
            cells.setdefault((int(row), int(column)), []).append((z, colour))
    view = torch.zeros(side, side, 4, dtype=torch.uint8)
    for (row, column), held in cells.items():
        highest = max(z for z, _ in held)
        shown = [colour for z, colour in held if z >= highest - 0.1]
        mean = [round(sum(each) / len(shown)) for each in zip(*shown, strict=True)]
        view[row, column] = torch.tensor([*mean, 255], dtype=torch.uint8)
    return view


def test_a_room_is_drawn_as_a_slow_loop_draws_it() -> None:
    """All but pixels on a border between two cells, where float32 and float64 may differ."""
    scene = room().record()
    points, valid = scene_points(scene)
    colours = torch.from_numpy(scene.images)
    fast = birds_eye_view(scene, points, valid, colours, SIDE)
    slow = slow_view(points[valid], colours[valid], SIDE)
    assert (fast[..., 3] > 0).float().mean() > 0.5
    assert float((fast == slow).all(-1).float().mean()) > 0.98
    assert torch.equal(prepared(scene).birds_eye, fast)  # type: ignore[arg-type]


def test_all_four_walls_of_a_square_room_are_drawn() -> None:
    """Walls of one colour each around a white floor, 4 m a side, seen by cameras that stand."""
    steps = torch.linspace(-2.0, 2.0, 65)
    along, up = (each.flatten() for each in torch.meshgrid(steps, steps + 2, indexing="ij"))
    bound = torch.full_like(along, 2.0)
    floor_y = torch.meshgrid(steps, steps, indexing="ij")[1].flatten()
    walls = [
        torch.stack(each, -1)
        for each in (
            (along, floor_y, torch.zeros_like(along)),
            (bound, along, up),
            (-bound, along, up),
            (along, bound, up),
            (along, -bound, up),
        )
    ]
    tones = torch.tensor([250, 50, 100, 150, 200], dtype=torch.uint8)
    points = torch.stack(walls).view(5, 65, 65, 3)
    colours = tones[:, None, None, None].expand(5, 65, 65, 3)
    valid = torch.ones(5, 65, 65, dtype=torch.bool)
    view = birds_eye_view(room().record(), points, valid, colours, SIDE)
    middle = slice(2, SIDE - 2)
    assert (view[middle, -1, 0] == 50).all() and (view[middle, 0, 0] == 100).all()
    assert (view[0, middle, 0] == 150).all() and (view[-1, middle, 0] == 200).all()


def test_what_lies_in_the_east_is_right_and_in_the_north_above() -> None:
    """A red square by the north wall and a blue one by the east wall, on a grey floor."""
    scene = room().record()
    places, _ = scene_points(scene)
    x, y, z = places.unbind(-1)
    images = np.full_like(scene.images, 90)
    low = z < 1.9
    images[(low & (y > 1.0) & (x.abs() < 0.6)).numpy()] = (255, 0, 0)
    images[(low & (x > 1.0) & (y.abs() < 0.6)).numpy()] = (0, 0, 255)
    view = scene_birds_eye(prepared(dataclasses.replace(scene, images=images))).long()
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    red, blue = ((view[..., at] > 200) & (view[..., 2 - at] < 50) for at in (0, 2))
    assert rows[red].float().mean() < SIDE / 3 < columns[red].float().mean() < 2 * SIDE / 3
    assert columns[blue].float().mean() > 2 * SIDE / 3 > rows[blue].float().mean() > SIDE / 3


def test_the_ceiling_is_left_out() -> None:
    """White, and above all else: it would be the whole picture."""
    scene = room().record()
    points, _ = scene_points(scene)
    images = scene.images.copy()
    images[(points[..., 2] > 2.2).numpy()] = 255
    images[(points[..., 2] <= 2.2).numpy()] = 10
    above = scene_birds_eye(prepared(dataclasses.replace(scene, images=images)))
    assert int(above[..., :3].max()) == 10


def test_a_world_whose_z_is_not_up_is_drawn_by_what_its_surfaces_tell() -> None:
    """The same room in the axes of its first camera: the same areas are seen, turned."""
    scene = room().record()
    points, valid = scene_points(scene)
    to_camera = np.linalg.inv(scene.camera_to_world[0].astype(np.float64))
    turned = dataclasses.replace(
        scene, camera_to_world=(to_camera @ scene.camera_to_world).astype(np.float32)
    )
    moved, _ = scene_points(turned)
    colours = torch.from_numpy(scene.images)
    one = birds_eye_view(scene, points, valid, colours, SIDE)
    other = birds_eye_view(turned, moved, valid, colours, SIDE)
    tones = [view[view[..., 3] > 0][:, :3].double().mean(0) for view in (one, other)]
    torch.testing.assert_close(*tones, atol=15.0, rtol=0.0)
    # Seen along any other axis a room is a few lines of walls with nothing between.
    assert (other[8:24, 8:24, 3] > 0).float().mean() > 0.7


def test_a_first_camera_that_looks_straight_down_says_where_ahead_is() -> None:
    """In a world whose -y is up, over a floor that is all that is seen."""
    cameras = np.tile(np.eye(4, dtype=np.float32), (4, 1, 1))
    cameras[0, :3, 1:3] = [[0, 0], [0, 1], [-1, 0]]
    eye = np.eye(4, dtype=np.float32)
    down = dataclasses.replace(room().record(), camera_to_world=cameras, axis_alignment=eye)
    steps = torch.linspace(-1.0, 1.0, 32)
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    points = torch.stack([columns, torch.full_like(rows, 2.0), rows], -1).expand(4, 32, 32, 3)
    valid = torch.ones(4, 32, 32, dtype=torch.bool)
    colours = torch.full((4, 32, 32, 3), 90, dtype=torch.uint8)
    seen = birds_eye_view(down, points, valid, colours, 16)[..., 3] > 0
    assert seen.float().mean() > 0.9
    with pytest.raises(SceneError, match="no pixel has depth"):
        birds_eye_view(down, points, ~valid, colours, 16)


def test_a_picture_is_kept_with_its_scene_and_leaves_all_else_alone(tmp_path: Path) -> None:
    scene = room().record()
    with_it, without = prepared(scene), prepared(scene, None)
    for folder, each in (("with", with_it), ("without", without)):
        (tmp_path / folder).mkdir()
        write_prepared(each, tmp_path / folder)
    read, plain = (PreparedScenes(tmp_path / name)[scene.scene_id] for name in ("with", "without"))
    assert torch.equal(scene_birds_eye(read), scene_birds_eye(with_it))
    assert plain.birds_eye is None
    assert torch.equal(read.images, plain.images)
    assert torch.equal(read.coordinates, plain.coordinates)


def test_a_smaller_picture_has_the_mean_of_what_was_seen() -> None:
    picture = torch.zeros(4, 4, 4, dtype=torch.uint8)
    picture[0, 0] = torch.tensor([100, 0, 0, 255])
    picture[1, 1] = torch.tensor([200, 0, 50, 255])
    small = shrunk(picture, 2, "scene")
    assert small[0, 0].tolist() == [150, 0, 25, 255]
    assert not small[0, 1].any() and not small[1].any()


def test_colour_alone_cannot_be_seen_from_above() -> None:
    scene = room().record()
    alone = dataclasses.replace(scene, objects=None, has_geometry=False)
    with pytest.raises(SceneError, match=r"seen from above; set prepare.birds_eye: null"):
        prepared(alone)


def test_a_real_scan_that_nobody_aligned_shows_its_table(redkitchen: Path) -> None:
    """Light wood before the first camera, and not in pieces, as it is along any other axis."""
    source = RGBDFolder(redkitchen, num_frames=8)
    scene = source.load(source.scenes()[0])
    config = PrepareConfig(num_frames=8, birds_eye=64, image_size=128, grid=4)
    view = scene_birds_eye(prepare_scene(scene, None, config))
    red, green, blue, seen = view.float().unbind(-1)
    wood = (seen > 0) & (red > green) & (green > blue + 20) & (red > 120)
    assert float(wood.float().mean()) > 0.04
