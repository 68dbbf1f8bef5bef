"""Rendered rooms in the layouts of ScanNet++ and ARKitScenes, written without the library that
reads them, for tests and trials."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from threedrs_components.scenes.frames import depth_to_millimetres
from threedrs_components.scenes.micro.render import render
from threedrs_components.scenes.micro.rooms import (
    intrinsics,
    random_cameras,
    random_layout,
    scene_generator,
)
from threedrs_components.scenes.micro.scene import MicroScene
from threedrs_components.scenes.png import write_png
from threedrs_platform.records import Boxes, Float32, UInt8

WIDTH, HEIGHT = 256, 192
"""Of the depth both devices take."""
COLOR_WIDTH, COLOR_HEIGHT = 1920, 1440
"""Of the iPhone's colour video in ScanNet++."""
FIELD_OF_VIEW = 62.0
LITERALS, MOST_IN_TOKEN, MOST_IN_BYTE = 0xF0, 15, 255
"""LZ4: a token whose literals are not fewer than 15, and what its length goes on with."""
FACES = (0, 1, 3, 0, 3, 2, 4, 5, 7, 4, 7, 6, 0, 1, 5, 0, 5, 4, 2, 3, 7, 2, 7, 6)
"""Triangles of a box whose corners count like bits."""
QUARTER_TURNS = {"Up": 0, "Left": 1, "Down": 2, "Right": 3}
"""Of the sensor, clockwise, until the sky is there."""
YAW = np.pi / 6
"""By which ARKitScenes' boxes are turned here."""


@dataclass(frozen=True)
class Film:
    """What a camera that moves through a room records, and what is true of it."""

    images: UInt8
    """[F, h, w, 3]"""
    depth: Float32
    """[F, h, w] metres"""
    points: Float32
    """[F, h, w, 3] what each pixel shows, world"""
    intrinsics: Float32
    """[F, 3, 3]"""
    camera_to_world: Float32
    """[F, 4, 4]"""
    objects: Boxes

    @classmethod
    def of(cls, scene: MicroScene) -> Film:
        """That of a room of the micro world."""
        frames = scene.rendering
        own = np.tile(scene.intrinsics, (len(frames.images), 1, 1))
        return cls(
            frames.images,
            frames.depth,
            frames.points,
            own,
            scene.camera_to_world,
            scene.layout.objects(),
        )


def shoot(num_frames: int, *, sky: str = "Up", zoom: float = 0.0, seed: int = 0) -> Film:
    """A room as the devices see it.

    Args:
        num_frames: F.
        sky: where in the frame it is: Up, Left, Down or Right. Held upright, a device has it Left.
        zoom: share by which the focal length moves from the first frame to the last.
        seed: of the room and the cameras.
    """
    rng = scene_generator(seed, "train", 0)
    layout = random_layout(rng, 4, 6)
    poses = random_cameras(rng, layout, num_frames)
    for _ in range(QUARTER_TURNS[sky]):
        poses = poses[:, :, [1, 0, 2, 3]] * np.array([1, -1, 1, 1], np.float32)
    own = np.tile(intrinsics(HEIGHT, WIDTH, FIELD_OF_VIEW), (num_frames, 1, 1))
    own[:, [0, 1], [0, 1]] *= np.linspace(1 - zoom / 2, 1 + zoom / 2, num_frames)[:, None]
    shots = [
        render(layout, pose[None], camera, HEIGHT, WIDTH)
        for pose, camera in zip(poses, own, strict=True)
    ]
    return Film(
        images=np.concatenate([each.images for each in shots]),
        depth=np.concatenate([each.depth for each in shots]),
        points=np.concatenate([each.points for each in shots]),
        intrinsics=own,
        camera_to_world=poses,
        objects=layout.objects(),
    )


def write_scannetpp(
    film: Film, root: Path, scene_id: str, without_pose: Sequence[int] = ()
) -> Path:
    """Write `data/<scene>` with its iPhone stream, mesh, segments and annotations.

    The first object is annotated twice, as parts of things are; a further one lost its vertices, as
    those do that were made unrecognisable.

    Returns:
        the scene's folder.
    """
    folder = root / "data" / scene_id
    for name in ("iphone", "scans"):
        (folder / name).mkdir(parents=True)
    colors = [_enlarged(image) for image in film.images]
    write_video(folder / "iphone/rgb.mkv", colors)
    blocks = (_lz4(values.tobytes()) for values in depth_to_millimetres(film.depth))
    packed = b"".join(struct.pack("<I", len(block)) + block for block in blocks)
    (folder / "iphone/depth.bin").write_bytes(packed)
    scale = COLOR_WIDTH / film.depth.shape[2]
    cameras = film.intrinsics.astype(np.float64)
    cameras[:, :2, 2] += 0.5
    cameras[:, :2] *= scale
    cameras[:, :2, 2] -= 0.5
    records = {
        f"frame_{number:06d}": {
            "timestamp": number / 60,
            "intrinsic": cameras[number].tolist(),
            "aligned_pose": (pose * (np.nan if number in without_pose else 1)).tolist(),
        }
        for number, pose in enumerate(film.camera_to_world)
    }
    (folder / "iphone/pose_intrinsic_imu.json").write_text(json.dumps(records))
    _write_scan(folder / "scans", film.objects)
    return folder


def write_arkitscenes(
    film: Film,
    root: Path,
    scene_id: str,
    *,
    fold: str = "Training",
    sky: str = "Up",
    without_pose: Sequence[int] = (),
) -> Path:
    """Write `raw/<fold>/<scene>` and its line of metadata.csv; objects are turned by `YAW`.

    Args:
        film: what was recorded.
        root: of all scenes.
        scene_id: digits, in the data set.
        fold: Training or Validation.
        sky: where in the frame it is, see `shoot`.
        without_pose: numbers of frames between two lines of the trajectory.

    Returns:
        the scene's folder.
    """
    folder = root / "raw" / fold / scene_id
    for name in ("lowres_wide", "lowres_depth", "lowres_wide_intrinsics"):
        (folder / name).mkdir(parents=True)
    height, width = film.depth.shape[1:]
    world_to_camera = np.linalg.inv(film.camera_to_world.astype(np.float64))
    lines = []
    for number, pose in enumerate(world_to_camera):
        time = 5000.0 + number / 60
        stem = f"{scene_id}_{time:.3f}"
        write_png(folder / f"lowres_wide/{stem}.png", film.images[number])
        write_png(folder / f"lowres_depth/{stem}.png", depth_to_millimetres(film.depth[number]))
        camera = film.intrinsics[number]
        told = (width, height, camera[0, 0], camera[1, 1], camera[0, 2], camera[1, 2])
        pincam = " ".join(map(str, told))
        (folder / f"lowres_wide_intrinsics/{stem}.pincam").write_text(pincam + "\n")
        if number not in without_pose:
            turn = Rotation.from_matrix(pose[:3, :3]).as_rotvec()
            lines.append(" ".join(f"{value:.9f}" for value in (time, *turn, *pose[:3, 3])))
    (folder / "lowres_wide.traj").write_text("\n".join(lines) + "\n")
    objects = zip(film.objects.labels, film.objects.boxes, strict=True)
    boxes = [_oriented(label, box) for label, box in objects]
    (folder / f"{scene_id}_3dod_annotation.json").write_text(
        json.dumps({"skipped": False, "data": boxes})
    )
    _add_metadata(root / "raw/metadata.csv", scene_id, fold, sky)
    return folder


def write_video(path: Path, images: Sequence[UInt8], rate: int = 60) -> None:
    """Write frames as H.264, in the container that the name's ending says."""
    import av

    height, width = images[0].shape[:2]
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.options = {"crf": "8", "preset": "ultrafast"}
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def _enlarged(image: UInt8) -> UInt8:
    size = (COLOR_WIDTH, COLOR_HEIGHT)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BILINEAR))


def _lz4(content: bytes) -> bytes:
    """A block of LZ4 that repeats nothing."""
    more, rest = divmod(len(content) - MOST_IN_TOKEN, MOST_IN_BYTE)
    return bytes([LITERALS]) + b"\xff" * more + bytes([rest]) + content


def _corners(box: Float32) -> Float32:
    """[8, 3] of a box, counted like bits: x is the last."""
    bits = np.array([[corner & 1, corner >> 1 & 1, corner >> 2] for corner in range(8)])
    corners: Float32 = (box[:3] + (bits - 0.5) * box[3:]).astype(np.float32)
    return corners


def _write_scan(folder: Path, objects: Boxes) -> None:
    """Every object is a box of eight vertices and a segment; one more belongs to nothing."""
    vertices = np.concatenate([*map(_corners, objects.boxes), np.zeros((3, 3), np.float32)])
    segments = np.arange(len(vertices)) // 8
    triangles = np.array(FACES).reshape(-1, 3)
    faces = np.concatenate([triangles + 8 * number for number in range(len(objects.boxes))])
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {len(vertices)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(faces)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    packed = b"".join(struct.pack("<B3i", 3, *face) for face in faces.tolist())
    mesh = header.encode() + vertices.astype("<f4").tobytes() + packed
    (folder / "mesh_aligned_0.05.ply").write_bytes(mesh)
    (folder / "mesh_aligned_0.05_mask.txt").write_text(f"{len(vertices) - 3}\n")
    (folder / "segments.json").write_text(json.dumps({"segIndices": segments.tolist()}))
    groups: list[Mapping[str, Any]] = [
        {"objectId": number + 1, "label": label, "segments": [number]}
        for number, label in enumerate(objects.labels)
    ]
    again = {"objectId": 90, "label": "part", "segments": [0]}
    lost = {"objectId": 91, "label": "photograph", "segments": []}
    removed = {"objectId": 92, "label": "REMOVE", "segments": [len(objects.boxes)]}
    (folder / "segments_anno.json").write_text(
        json.dumps({"segGroups": [*groups, again, lost, removed]})
    )


def _oriented(label: str, box: Float32) -> Mapping[str, Any]:
    axes = Rotation.from_euler("z", YAW).as_matrix().T
    told = {
        "centroid": box[:3].tolist(),
        "axesLengths": box[3:].tolist(),
        "normalizedAxes": axes.ravel().tolist(),
    }
    return {"uid": label, "label": label, "segments": {"obbAligned": told}}


def _add_metadata(path: Path, scene_id: str, fold: str, sky: str) -> None:
    header = "video_id,visit_id,fold,sky_direction,is_in_upsampling,is_in_threedod\n"
    known = path.read_text() if path.is_file() else header
    path.write_text(f"{known}{scene_id},NA,{fold},{sky},False,True\n")
