"""Pictures of scenes: frames with projected boxes, voxels, and correspondences between frames.

`python -m threedrs_components.scenes.picture FOLDER` draws the pictures of the README.
"""

from __future__ import annotations

import argparse
import colorsys
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from threedrs_components.scenes.frames import uniform_choice
from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.render import render
from threedrs_components.scenes.micro.rooms import intrinsics
from threedrs_components.scenes.micro.scene import FIELD_OF_VIEW, MicroScene, make_scene
from threedrs_components.scenes.prepared import scene_points
from threedrs_components.scenes.voxels import voxel_indices, voxel_keys
from threedrs_platform.records import Float32, Scene, UInt8

Rgb = tuple[int, int, int]

SHARPNESS = 2
"""Pictures are drawn this many times larger and then reduced, for smooth lines."""
GAP = 6
PAPER: Rgb = (255, 255, 255)
NEAR_M = 0.05
CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 2
EDGES = tuple((a, b) for a in range(8) for b in range(a) if (CORNERS[a] != CORNERS[b]).sum() == 1)
WITHIN = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 5)] * 3), axis=-1).reshape(-1, 3)
"""Places spread evenly in a box of size 1."""
GOLDEN = 0.618034
"""Steps of hue that keep neighbouring numbers far apart."""


def draw_boxes(
    scene: Scene,
    frames: Sequence[int],
    labels: Sequence[str] = (),
    width: int = 900,
    *,
    cut_too: bool = False,
) -> Image.Image:
    """Frames side by side, each with the boxes of the objects that it shows.

    Args:
        scene: any scene with objects.
        frames: which frames.
        labels: one text per object; the scene's own labels if not given.
        width: of the picture, pixels.
        cut_too: draw boxes whose middle is out of view.
    """
    texts = list(labels) or list(scene.objects.labels if scene.objects else ())
    tiles = []
    for frame in frames:
        tile, scale = _tile(scene.images[frame], _tile_width(width, len(frames)))
        _draw_frame_boxes(tile, scene, frame, texts, scale, cut_too)
        tiles.append(tile)
    return _reduced(_side_by_side(tiles))


def draw_voxels(
    scene: Scene, frames: Sequence[int], voxel_m: float = 0.25, width: int = 900
) -> Image.Image:
    """Frames side by side, tinted by voxel: one place has one tint in every frame."""
    keys, valid = _pixel_voxels(scene, voxel_m)
    numbers = np.unique(keys, return_inverse=True)[1].reshape(keys.shape)
    tints = np.array([hue(number) for number in range(numbers.max() + 1)], dtype=np.float32)
    tiles = []
    for frame in frames:
        tint = np.where(valid[frame][..., None], tints[numbers[frame]], 0).astype(np.uint8)
        size = (scene.images.shape[2], scene.images.shape[1])
        over = Image.fromarray(tint).resize(size, Image.Resampling.NEAREST)
        mixed = Image.blend(Image.fromarray(scene.images[frame]), over, 0.5)
        tiles.append(_tile(np.asarray(mixed), _tile_width(width, len(frames)))[0])
    return _reduced(_side_by_side(tiles))


def draw_correspondences(
    scene: Scene, i: int, j: int, voxel_m: float = 0.1, most: int = 40, width: int = 900
) -> Image.Image:
    """Frames i and j side by side, with lines between pixels that fall in the same voxel.

    At most `most` voxels are shown, evenly taken from all that both frames see.
    """
    first, second = correspondences(scene, i, j, voxel_m, most)
    tile_width = _tile_width(width, 2)
    tiles = [_tile(scene.images[frame], tile_width)[0] for frame in (i, j)]
    picture = _side_by_side(tiles)
    draw = ImageDraw.Draw(picture)
    scale = tiles[0].width / scene.depth.shape[2]
    shift = tiles[0].width + GAP * SHARPNESS
    for number, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        start = ((a[1] + 0.5) * scale, (a[0] + 0.5) * scale)
        end = ((b[1] + 0.5) * scale + shift, (b[0] + 0.5) * scale)
        draw.line([start, end], hue(number), width=SHARPNESS)
        for x, y in (start, end):
            radius = 3 * SHARPNESS
            box = (x - radius, y - radius, x + radius, y + radius)
            draw.ellipse(box, hue(number), outline=PAPER, width=SHARPNESS)
    return _reduced(picture)


def correspondences(
    scene: Scene, i: int, j: int, voxel_m: float, most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Depth pixels (row, column) of frames i and j in the same voxels: [n, 2] each.

    One pixel per frame and voxel: the middle one of those that fall in it.
    """
    keys, valid = _pixel_voxels(scene, voxel_m)
    seen = [_middle_pixels(keys[frame], valid[frame]) for frame in (i, j)]
    shared = sorted(seen[0].keys() & seen[1].keys(), key=lambda key: seen[0][key])
    if len(shared) > most:
        shared = [shared[at] for at in uniform_choice(len(shared), most)]
    columns = keys.shape[2]
    pixels = [np.array([seen[side][key] for key in shared], dtype=np.int64) for side in (0, 1)]
    first, second = (np.stack([flat // columns, flat % columns], axis=-1) for flat in pixels)
    return first, second


def hue(number: int) -> Rgb:
    """A bright colour per number; consecutive numbers are far apart."""
    red, green, blue = colorsys.hsv_to_rgb((number * GOLDEN) % 1.0, 0.75, 1.0)
    return round(red * 255), round(green * 255), round(blue * 255)


def large_view(scene: MicroScene, height: int, width: int) -> Scene:
    """The same room through the same cameras, at another size."""
    matrix = intrinsics(height, width, FIELD_OF_VIEW)
    rendering = render(scene.layout, scene.camera_to_world, matrix, height, width)
    larger = dataclasses.replace(scene, intrinsics=matrix, rendering=rendering)
    return larger.record()


def object_names(scene: MicroScene) -> list[str]:
    """Colour and category of every object."""
    return [f"{piece.color} {piece.category}" for piece in scene.layout.pieces]


def busiest_frames(scene: MicroScene, count: int) -> list[int]:
    """Frames that show most objects, best first; among equals the one with more wall."""
    shown = [len(np.unique(frame)) - 1 for frame in scene.rendering.instances]
    room = [float((frame == 0).mean()) for frame in scene.rendering.instances]
    order = sorted(range(len(shown)), key=lambda frame: (-shown[frame], -room[frame]))
    return order[:count]


def frames_showing(scene: Scene, box: Sequence[float], most: int) -> list[int]:
    """Different frames into whose view a box [6] reaches, those first that hold most of it.

    What stands before it is not looked at.
    """
    shares: dict[str, tuple[float, int]] = {}
    for frame, name in enumerate(scene.frame_names):
        share = _share_in_view(scene, frame, np.asarray(box))
        if share > 0:
            shares.setdefault(name, (-share, frame))
    return [frame for _, frame in sorted(shares.values())[:most]]


def _share_in_view(scene: Scene, frame: int, box: NDArray[Any]) -> float:
    """Share of points spread evenly in a box that lie before a camera and inside its frame."""
    local = _seen_from(scene, frame, box, WITHIN)
    ahead = local[local[:, 2] > NEAR_M]
    x, y, w = scene.color_intrinsics @ ahead.T
    height, width = scene.images.shape[1:3]
    inside = (x >= 0) & (x < width * w) & (y >= 0) & (y < height * w)
    return float(inside.sum() / len(local))


def _seen_from(
    scene: Scene, frame: int, box: NDArray[Any], places: NDArray[np.float64] = CORNERS
) -> NDArray[np.float64]:
    """Places [n, 3] in a box, by default its corners, before a frame's camera, metres."""
    to_world = scene.axis_alignment @ scene.camera_to_world[frame]
    to_camera = np.linalg.inv(to_world.astype(np.float64))
    local: NDArray[np.float64] = (box[:3] + places * box[3:]) @ to_camera[:3, :3].T
    return local + to_camera[:3, 3]


def box_edges(scene: Scene, frame: int, box: Sequence[float]) -> list[list[tuple[float, float]]]:
    """Lines (two places each, pixels of the frame) of a box [6], those before the camera.

    What stands before it is not looked at.
    """
    return _edges(_seen_from(scene, frame, np.asarray(box)), scene.color_intrinsics, 1.0)


def _edges(
    local: NDArray[np.float64], matrix: Float32, scale: float
) -> list[list[tuple[float, float]]]:
    pairs = (_clipped(local[a], local[b]) for a, b in EDGES)
    return [[_projected(end, matrix, scale) for end in ends] for ends in pairs if ends is not None]


def _draw_frame_boxes(
    tile: Image.Image,
    scene: Scene,
    frame: int,
    texts: Sequence[str],
    scale: float,
    cut_too: bool,
) -> None:
    if scene.objects is None:
        return
    draw = ImageDraw.Draw(tile)
    to_world = scene.axis_alignment @ scene.camera_to_world[frame]
    order = np.argsort(-((scene.objects.boxes[:, :3] - to_world[:3, 3]) ** 2).sum(1))
    for index in order.tolist():
        local = _seen_from(scene, frame, scene.objects.boxes[index])
        shown = _is_shown(local, scene.color_intrinsics, scene.images.shape[1:3])
        if not shown and not (cut_too and _share_in_view(scene, frame, scene.objects.boxes[index])):
            continue
        for line in _edges(local, scene.color_intrinsics, scale):
            draw.line(line, hue(index), width=2 * SHARPNESS)
        _draw_label(draw, tile, local, scene.color_intrinsics, scale, texts[index], hue(index))


def _is_shown(local: NDArray[np.float64], matrix: Float32, size: tuple[int, ...]) -> bool:
    """Whether the middle of a box is in front of the camera and inside the frame."""
    middle = local.mean(0)
    if middle[2] < NEAR_M:
        return False
    x, y = _projected(middle, matrix, 1.0)
    return 0 <= x < size[1] and 0 <= y < size[0]


def _clipped(
    a: NDArray[np.float64], b: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """The part of an edge in front of the camera."""
    if a[2] > b[2]:
        a, b = b, a
    if b[2] <= NEAR_M:
        return None
    if a[2] < NEAR_M:
        a = a + (b - a) * (NEAR_M - a[2]) / (b[2] - a[2])
    return a, b


def _projected(point: NDArray[np.float64], matrix: Float32, scale: float) -> tuple[float, float]:
    x, y, w = matrix @ point
    return float((x / w + 0.5) * scale), float((y / w + 0.5) * scale)


def _draw_label(
    draw: ImageDraw.ImageDraw,
    tile: Image.Image,
    local: NDArray[np.float64],
    matrix: Float32,
    scale: float,
    text: str,
    color: Rgb,
) -> None:
    ahead = [_projected(point, matrix, scale) for point in local if point[2] > NEAR_M]
    font = ImageFont.load_default(size=12 * SHARPNESS)
    left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
    width, height, pad = right - left, bottom - top, 3 * SHARPNESS
    x = sum(point[0] for point in ahead) / len(ahead) - width / 2
    y = min(point[1] for point in ahead) - height - 2 * pad
    x = min(max(x, pad), tile.width - width - pad)
    y = min(max(y, pad), tile.height - height - pad)
    draw.rounded_rectangle((x - pad, y - pad, x + width + pad, y + height + pad), pad, color)
    draw.text((x - left, y - top), text, (0, 0, 0), font=font)


def _pixel_voxels(scene: Scene, voxel_m: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    points, valid = scene_points(scene)
    return voxel_keys(voxel_indices(points, voxel_m)).numpy(), valid.numpy()


def _middle_pixels(keys: NDArray[np.int64], valid: NDArray[np.bool_]) -> dict[int, int]:
    """Flat index of the middle pixel of every voxel in a frame."""
    flat = np.flatnonzero(valid)
    flat = flat[np.argsort(keys.ravel()[flat], kind="stable")]
    found, start, count = np.unique(keys.ravel()[flat], return_index=True, return_counts=True)
    middles = flat[start + count // 2]
    return dict(zip(found.tolist(), middles.tolist(), strict=True))


def _tile_width(width: int, count: int) -> int:
    return (width - GAP * (count - 1)) // count * SHARPNESS


def _tile(image: UInt8, width: int) -> tuple[Image.Image, float]:
    """An image at a given width, and by how much it was enlarged."""
    scale = width / image.shape[1]
    size = (width, round(image.shape[0] * scale))
    return Image.fromarray(image).resize(size, Image.Resampling.LANCZOS), scale


def _side_by_side(tiles: Sequence[Image.Image]) -> Image.Image:
    gap = GAP * SHARPNESS
    width = sum(tile.width for tile in tiles) + gap * (len(tiles) - 1)
    picture = Image.new("RGB", (width, tiles[0].height), PAPER)
    left = 0
    for tile in tiles:
        picture.paste(tile, (left, 0))
        left += tile.width + gap
    return picture


def _reduced(picture: Image.Image) -> Image.Image:
    size = (picture.width // SHARPNESS, picture.height // SHARPNESS)
    return picture.resize(size, Image.Resampling.LANCZOS)


def write_pictures(folder: Path, seed: int, index: int) -> list[Path]:
    """Draw a training room of the micro world: boxes, voxels, correspondences."""
    micro = make_scene(MicroWorldConfig(seed=seed), "train", index)
    scene = large_view(micro, 450, 600)
    frames = busiest_frames(micro, 3)
    pictures = {
        "room-boxes.png": draw_boxes(scene, frames, object_names(micro)),
        "room-voxels.png": draw_voxels(scene, frames),
        "room-correspondences.png": draw_correspondences(scene, frames[0], frames[1]),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures.items():
        picture.save(folder / name, optimize=True)
    return [folder / name for name in pictures]


def main() -> None:
    """Draw the README's pictures into a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--index", type=int, default=52, help="training scene to draw")
    given = parser.parse_args()
    torch.set_num_threads(1)
    for path in write_pictures(given.folder, given.seed, given.index):
        print(path)


if __name__ == "__main__":
    main()
