from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from threedrs_components.scenes.geometry import pixel_rays, world_coordinates
from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.furniture import CATEGORIES, COLORS, Shape
from threedrs_components.scenes.micro.render import (
    Rendering,
    cast_rays,
    collect_primitives,
    render,
)
from threedrs_components.scenes.micro.rooms import (
    STREAMS,
    Layout,
    intrinsics,
    look_at,
    random_cameras,
    random_layout,
    scene_generator,
)
from threedrs_components.scenes.micro.scene import SEEN_SHARE, MicroScene, make_scene
from threedrs_components.scenes.micro.surfaces import EAST, NORTH, SOUTH, WEST

CONFIG = MicroWorldConfig()


@pytest.fixture(scope="module")
def scenes() -> list[MicroScene]:
    return [make_scene(CONFIG, "val", index) for index in range(6)]


def test_unprojected_depth_is_where_the_ray_hit(scenes: list[MicroScene]) -> None:
    for scene in scenes:
        record = scene.record()
        points, valid = world_coordinates(
            torch.from_numpy(record.depth),
            torch.from_numpy(record.depth_intrinsics),
            torch.from_numpy(record.camera_to_world),
            torch.from_numpy(record.axis_alignment),
        )
        assert bool(valid.all())
        assert np.abs(points.numpy() - scene.rendering.points).max() < 1e-5


def test_two_views_of_a_surface_agree(scenes: list[MicroScene]) -> None:
    """A ray from another camera through a seen point ends there, or earlier where it is hidden."""
    visible = []
    for scene in scenes:
        primitives = collect_primitives(scene.layout)
        points = torch.from_numpy(scene.rendering.points[0].reshape(-1, 3))
        owners = torch.from_numpy(scene.rendering.instances[0].reshape(-1).astype(np.int64)) - 1
        for pose in torch.from_numpy(scene.camera_to_world[1:]):
            local = (points - pose[:3, 3]) @ pose[:3, :3]
            ahead = local[:, 2] > 0.1
            rays = local[ahead] / local[ahead, 2:]
            _, depth, _, hit = cast_rays(scene.layout.room, primitives, rays, pose[None])
            behind = local[ahead, 2] - depth
            assert (behind < -1e-3).float().mean() < 5e-4  # rays that graze an edge may pass it
            agrees = behind < 1e-3
            assert (hit[agrees] == owners[ahead][agrees]).float().mean() > 0.999
            visible.append(agrees.float().mean().item())
    assert np.mean(visible) > 0.5


def _marched(layout: Layout, origin: np.ndarray, direction: np.ndarray) -> tuple[float, int]:
    """First of many small steps along a ray that is in something: distance, owner (-1 = room)."""
    steps = np.arange(0.002, 8.0, 0.002)
    points = origin + steps[:, None] * direction
    room = layout.room
    limit = np.array([room.half_x, room.half_y])
    owners = np.full(len(steps), -2)
    owners[(np.abs(points[:, :2]) >= limit).any(1)] = -1
    owners[(points[:, 2] <= 0) | (points[:, 2] >= room.height)] = -1
    for owner, piece in enumerate(layout.pieces):
        cos, sin = math.cos(piece.yaw), math.sin(piece.yaw)
        x, y = points[:, 0] - piece.x, points[:, 1] - piece.y
        local = np.stack([x * cos + y * sin, y * cos - x * sin, points[:, 2]], axis=1)
        for part in piece.parts:
            offset, half = np.abs(local - part.center), np.array(part.half)
            if part.shape is Shape.SPHERE:
                inside = np.linalg.norm(offset, axis=1) <= half[0]
            elif part.shape is Shape.CYLINDER:
                inside = (np.hypot(*offset[:, :2].T) <= half[0]) & (offset[:, 2] <= half[2])
            else:
                inside = (offset <= half).all(1)
            owners[inside & (owners == -2)] = owner
    first = int(np.argmax(owners != -2))
    return float(steps[first]), int(owners[first])


def test_hits_agree_with_marching_along_the_ray() -> None:
    layout = random_layout(scene_generator(3, "val", 1), 7, 7)
    poses = random_cameras(scene_generator(3, "val", 1, 9), layout, 8)
    matrix = intrinsics(5, 5, 80.0)
    rendering = render(layout, poses, matrix, 5, 5)
    rays = pixel_rays(5, 5, torch.from_numpy(matrix)).numpy().reshape(-1, 3)
    owners: set[int] = set()
    for frame, pose in enumerate(poses):
        for index, ray in enumerate(rays):
            distance, owner = _marched(layout, pose[:3, 3], pose[:3, :3] @ ray)
            owners.add(owner)
            assert rendering.instances[frame].reshape(-1)[index] == owner + 1
            assert rendering.depth[frame].reshape(-1)[index] == pytest.approx(distance, abs=0.003)
    assert len(owners) >= 5


def test_chunks_of_rays_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = make_scene(CONFIG, "train", 2).rendering
    monkeypatch.setattr("threedrs_components.scenes.micro.render.RAYS_PER_CHUNK", 1)
    _assert_same_bits(make_scene(CONFIG, "train", 2).rendering, whole)


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_change_nothing(scenes: list[MicroScene], threads: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        again = make_scene(CONFIG, "val", 0).rendering
    finally:
        torch.set_num_threads(before)
    _assert_same_bits(again, scenes[0].rendering)


def _assert_same_bits(found: Rendering, wanted: Rendering) -> None:
    for item in dataclasses.fields(Rendering):
        one, other = getattr(found, item.name), getattr(wanted, item.name)
        np.testing.assert_array_equal(one, other, item.name)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 33])
def test_a_ray_alone_meets_what_it_meets_in_company(scenes: list[MicroScene], count: int) -> None:
    scene = scenes[0]
    primitives = collect_primitives(scene.layout)
    rays = pixel_rays(64, 64, torch.from_numpy(scene.intrinsics)).reshape(-1, 3)
    poses = torch.from_numpy(scene.camera_to_world[:1])
    together = cast_rays(scene.layout.room, primitives, rays, poses)
    few = torch.arange(7, 64 * 64, 64 * 64 // count)[:count]
    alone = cast_rays(scene.layout.room, primitives, rays[few], poses)
    assert all(torch.equal(one, all_of[few]) for one, all_of in zip(alone, together, strict=True))


def test_every_object_is_seen_somewhere(scenes: list[MicroScene]) -> None:
    for scene in scenes:
        for index in range(len(scene.layout.pieces)):
            shown = scene.rendering.instances == index + 1
            assert shown.mean((1, 2)).max() >= SEEN_SHARE


def test_surfaces_lie_in_their_boxes_and_nothing_else_does(scenes: list[MicroScene]) -> None:
    for scene in scenes:
        boxes = scene.layout.objects().boxes
        points = scene.rendering.points.reshape(-1, 3)
        shown = scene.rendering.instances.reshape(-1)
        for index, box in enumerate(boxes):
            low, high = box[:3] - box[3:] / 2, box[:3] + box[3:] / 2
            inside = ((points >= low) & (points <= high)).all(-1)
            assert (shown[inside] == index + 1).all()
            own = points[shown == index + 1]
            assert (own[:, 2] > 0.01).mean() - inside[shown == index + 1].mean() < 1e-3


def test_cameras_stand_in_the_room_and_in_no_object() -> None:
    for index in range(20):
        rng = scene_generator(0, "train", index)
        layout = random_layout(rng, 5, 7)
        for eye in random_cameras(rng, layout, 8)[:, :3, 3]:
            assert abs(eye[0]) < layout.room.half_x and abs(eye[1]) < layout.room.half_y
            assert 1.4 <= eye[2] <= 2.0
            for box in layout.objects().boxes:
                assert (np.abs(eye - box[:3]) > box[3:] / 2).any()


def test_objects_do_not_overlap_and_names_are_unique() -> None:
    counts = []
    for index in range(60):
        layout = random_layout(scene_generator(0, "train", index), 5, 7)
        boxes = layout.objects().boxes
        for i in range(len(boxes)):
            for j in range(i):
                apart = np.abs(boxes[i, :2] - boxes[j, :2]) >= (boxes[i, 3:5] + boxes[j, 3:5]) / 2
                assert apart.any()
        names = [(piece.category, piece.color) for piece in layout.pieces]
        assert len(set(names)) == len(names)
        counts.append(len(names))
    assert set(counts) == {5, 6, 7} and min(counts.count(n) for n in (5, 6, 7)) > 8


def test_walls_tell_the_direction() -> None:
    """The mean colour of each wall is nearest to the same wall's in every other room."""
    empty = [random_layout(scene_generator(1, "val", index), 1, 1).room for index in range(20)]
    colors = np.stack([_wall_colors(Layout(room, ())) for room in empty])
    means = colors.mean(0)
    for wall in (NORTH, EAST, SOUTH, WEST):
        distances = np.linalg.norm(colors[:, wall, None] - means[None], axis=-1)
        assert (distances.argmin(1) == wall).all()


def _wall_colors(layout: Layout) -> np.ndarray:
    eye = np.array([0.0, 0.0, 1.3])
    steps = {NORTH: (0, 1), EAST: (1, 0), SOUTH: (0, -1), WEST: (-1, 0)}
    poses = np.stack([look_at(eye, eye + np.array([*steps[wall], -0.01])) for wall in range(4)])
    images = render(layout, poses, intrinsics(16, 16, 40.0), 16, 16).images
    return np.asarray(images.reshape(4, -1, 3).mean(1))


@pytest.mark.parametrize("color", COLORS)
def test_objects_show_the_color_they_are_named_after(color: str) -> None:
    shown: dict[str, list[np.ndarray]] = {name: [] for name in COLORS}
    for index in range(12):
        scene = make_scene(CONFIG, "train", index)
        for owner, piece in enumerate(scene.layout.pieces):
            mask = scene.rendering.instances == owner + 1
            if piece.category == "lamp":
                shown[piece.color].append(scene.rendering.images[mask].max(0))
    for pixel in shown[color]:
        distances = {n: np.abs(np.array(c) - pixel / 255).sum() for n, c in COLORS.items()}
        assert min(distances, key=lambda name: float(distances[name])) == color


def test_all_categories_and_shapes_occur() -> None:
    layouts = [random_layout(scene_generator(0, "val", index), 5, 7) for index in range(20)]
    assert {piece.category for layout in layouts for piece in layout.pieces} == set(CATEGORIES)
    shapes = {int(s) for layout in layouts for s in collect_primitives(layout).shape}
    assert shapes == {int(shape) for shape in Shape}


def test_seed_streams_are_disjoint() -> None:
    draws = {
        tuple(scene_generator(seed, split, index).integers(0, 1 << 62, 2))
        for seed in (0, 1)
        for split in STREAMS
        for index in range(3)
    }
    assert len(draws) == 2 * 3 * 3
