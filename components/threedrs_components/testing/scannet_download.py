"""Rendered rooms as a ScanNet v2 download: written by the formats' own description, for tests.

Shares no code with the reader (`scenes/scannet_download`), so that the two hold each other.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.write import write_world

DEGREES = 30.0
SHIFT = (0.4, -0.3, 0.1)
LOST = (3, 10, 11)
"""Frames without a pose; the second is one of every tenth."""
POINTS_PER_OBJECT = 40
FLOOR_POINTS = 200
VANISHED = "ghost"
"""Label of the object that loses its segments, and is unknown to the label table."""


@dataclass(frozen=True)
class Truth:
    """What a reader must find in one written scene."""

    scene_id: str
    frames: int
    boxes: dict[int, list[float]]
    """Centre and size by object id, axis-aligned."""
    alignment: NDArray[np.float64]


def write_scannet_download(
    root: Path, *, train: int = 2, val: int = 1, frames: int = 31, size: int = 32
) -> dict[str, Truth]:
    """Render rooms and write them as a download, with split lists, labels and masks.

    Args:
        root: gets scans/, mask/, mask3d_text/, scannetv2_*.txt, the label table; and annotations/,
            the annotations of the same rooms, which no download has.
        train: scenes to train on.
        val: scenes to evaluate.
        frames: of each stream, 25 or more: at least three of every tenth have a pose.
        size: pixels of a side.
    """
    world = root / "world"
    world.mkdir(parents=True)
    config = MicroWorldConfig(
        train=train, text=train, val=val, num_frames=frames, teacher_scenes=1, image_size=size
    )
    write_world(config, world, "student")
    return write_world_as_download(world, root)


def write_world_as_download(world: Path, root: Path, *, gap: bool = True) -> dict[str, Truth]:
    """Write a micro world that lies on disk as a download; its scenes keep their names.

    Args:
        world: with 25 frames a scene or more.
        root: gets the files.
        gap: let the object that vanishes from the first scene have an id in the middle of those
            of the others; elsewhere its id is the last.
    """
    root.mkdir(parents=True, exist_ok=True)
    splits = json.loads((world / "splits.json").read_text())
    truths: dict[str, Truth] = {}
    for split in ("train", "val"):
        (root / f"scannetv2_{split}.txt").write_text("\n".join(splits[split]) + "\n")
        for scene_id in splits[split]:
            truths[scene_id] = _write_scene(
                world / "scenes" / scene_id,
                root,
                has_gap=gap and not truths,
                with_masks=split == "val",
            )
    categories = {
        name
        for scene in (world / "scenes").iterdir()
        for name in json.loads((scene / "boxes.json").read_text())["labels"]
    }
    rows = [f"{n}\t{name}\t{name}\t1\t3\t{name}" for n, name in enumerate({"floor", *categories})]
    header = "id\traw_category\tcategory\tcount\tnyu40id\tnyu40class"
    table = root / "scannetv2-labels.combined.tsv"
    table.write_text("\n".join([header, *sorted(rows)]) + "\n")
    if (world / "annotations").is_dir():
        (world / "annotations").rename(root / "annotations")
    return truths


def _write_scene(source: Path, root: Path, *, has_gap: bool, with_masks: bool) -> Truth:
    scene_id = source.name
    folder = root / "scans" / scene_id
    folder.mkdir(parents=True)
    content = json.loads((source / "boxes.json").read_text())
    alignment = _alignment()
    rng = np.random.default_rng(len(content["boxes"]))
    vertices, segments, groups = _mesh(content, has_gap, rng)
    back = np.linalg.inv(alignment).astype(np.float64)
    scanned = (vertices @ back[:3, :3].T + back[:3, 3]).astype("<f4")
    write_ply(folder / f"{scene_id}_vh_clean_2.ply", scanned)
    (folder / f"{scene_id}_vh_clean_2.0.010000.segs.json").write_text(
        json.dumps({"params": {}, "sceneId": scene_id, "segIndices": segments.tolist()})
    )
    aggregation = {
        "sceneId": f"scannet.{scene_id}",
        "segmentsFile": f"scannet.{scene_id}_vh_clean_2.0.010000.segs.json",
        "segGroups": groups,
    }
    (folder / f"{scene_id}.aggregation.json").write_text(json.dumps(aggregation))
    numbers = " ".join(f"{value:.6f}" for value in alignment.ravel())
    text = f"axisAlignment = {numbers} \ncolorHeight = 968\nsceneType = Office\n"
    (folder / f"{scene_id}.txt").write_text(text)
    frames = _write_stream(source, folder / f"{scene_id}.sens", back)
    owners = _owners(segments, groups)
    moved = scanned.astype(np.float64) @ alignment[:3, :3].T + alignment[:3, 3]
    boxes = {
        int(each): _box(moved[owners == each].astype(np.float32))
        for each in np.unique(owners[owners >= 0])
    }
    if with_masks:
        masks = [owners == each for each in boxes] + [np.zeros(len(owners), bool)]
        (root / "mask").mkdir(exist_ok=True)
        write_mask_npz(root / "mask" / f"{scene_id}.mask.npz", np.stack(masks))
        write_mask_text(root / "mask3d_text", scene_id, masks)
    return Truth(scene_id, frames, boxes, alignment)


def _alignment() -> NDArray[np.float64]:
    """What a file of six decimals can hold."""
    angle = np.deg2rad(DEGREES)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = SHIFT
    return np.round(matrix, 6)


def _mesh(
    content: dict[str, Any], has_gap: bool, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64], list[dict[str, Any]]]:
    """Vertices in the aligned frame, segment of each, and the groups.

    Two segments an object. The first group of all is of an object that loses every segment to
    those after it; each group but the last lists a segment of the next object too, and loses it.
    """
    vertices, segments = [], []
    labels, ids = content["labels"], content["object_ids"]
    for number, box in enumerate(np.array(content["boxes"])):
        inside = rng.uniform(-0.5, 0.5, (POINTS_PER_OBJECT, 3))
        corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) / 2
        points = np.concatenate([corners, inside]) * box[3:] + box[:3]
        vertices.append(points)
        segments += [100 * number + 7 * (index % 2) for index in range(len(points))]
    every = np.concatenate(vertices)
    low, high = every.min(axis=0), every.max(axis=0)
    floor = rng.uniform(low - 0.2, high + 0.2, (FLOOR_POINTS, 3))
    floor[:, 2] = rng.uniform(-0.01, 0.01, FLOOR_POINTS)
    vertices.append(floor)
    segments += [99_999] * FLOOR_POINTS
    last = max(ids) + 1
    ghost, ground = (last, last + 1) if has_gap else (last + 1, last)
    groups = [_group(ghost, VANISHED, [0, 7])]
    for number, (object_id, label) in enumerate(zip(ids, labels, strict=True)):
        own = [100 * number, 100 * number + 7]
        stolen = [100 * (number + 1)] if number + 1 < len(ids) else []
        groups.append(_group(object_id, label, own + stolen))
    groups.append(_group(ground, "floor", [99_999]))
    order = rng.permutation(sum(map(len, vertices)))
    return np.concatenate(vertices)[order], np.array(segments)[order], groups


def _group(object_id: int, label: str, segments: Sequence[int]) -> dict[str, Any]:
    return {"id": object_id, "objectId": object_id, "segments": list(segments), "label": label}


def _owners(segments: NDArray[np.int64], groups: list[dict[str, Any]]) -> NDArray[np.int64]:
    owners = np.full(len(segments), -1)
    for group in groups:
        owners[np.isin(segments, group["segments"])] = group["objectId"]
    return owners


def _box(points: NDArray[np.float32]) -> list[float]:
    low, high = points.min(axis=0), points.max(axis=0)
    return [*((low + high) / 2).tolist(), *(high - low).tolist()]


def _write_stream(source: Path, path: Path, back: NDArray[np.float64]) -> int:
    colors = sorted(source.glob("*.color.png"))
    frames = []
    for index, color in enumerate(colors):
        stem = color.name.removesuffix(".color.png")
        jpeg = path.with_name("frame.jpg")
        Image.open(color).save(jpeg, quality=95)
        depth = np.array(Image.open(source / f"{stem}.depth.png")).astype("<u2")
        pose = back @ np.loadtxt(source / f"{stem}.pose.txt")
        if index in LOST:
            pose = np.full((4, 4), -np.inf)
        frames.append((pose, jpeg.read_bytes(), depth))
        jpeg.unlink()
    intrinsics = np.eye(4)
    intrinsics[:3, :3] = np.loadtxt(source / "camera-intrinsics.txt")[:3, :3]
    write_sens(path, intrinsics, frames)
    return len(frames)


def write_sens(
    path: Path,
    intrinsics: NDArray[np.float64],
    frames: Sequence[tuple[NDArray[np.float64], bytes, NDArray[np.uint16]]],
    *,
    color_size: tuple[int, int] | None = None,
    inertial: int = 2,
) -> None:
    """Write a `.sens` of version 4: JPEG colour as given, depth [h, w] in zlib.

    Args:
        path: the file.
        intrinsics: [4, 4], of both cameras.
        frames: camera-to-world, JPEG, depth in millimetres.
        color_size: width and height; those of depth if not given.
        inertial: records at the end.
    """
    height, width = frames[0][2].shape if frames else (4, 4)
    name = b"StructureSensor"
    parts = [struct.pack("<IQ", 4, len(name)), name]
    for matrix in (intrinsics, np.eye(4), intrinsics, np.eye(4)):
        parts.append(np.asarray(matrix, dtype="<f4").tobytes())
    parts.append(struct.pack("<ii", 2, 1))
    parts.append(struct.pack("<IIII", *(color_size or (width, height)), width, height))
    parts.append(struct.pack("<fQ", 1000.0, len(frames)))
    for index, (pose, jpeg, depth) in enumerate(frames):
        packed = zlib.compress(depth.astype("<u2").tobytes(), 1)
        parts.append(np.asarray(pose, dtype="<f4").tobytes())
        parts.append(struct.pack("<QQQQ", 33_333 * index, 33_333 * index, len(jpeg), len(packed)))
        parts += [jpeg, packed]
    parts.append(struct.pack("<Q", inertial) + bytes(128 * inertial))
    path.write_bytes(b"".join(parts))


def write_ply(path: Path, vertices: NDArray[np.float32], *, ascii_form: bool = False) -> None:
    """Write a mesh as ScanNet's: coordinates, colours, and faces behind them."""
    form = "ascii" if ascii_form else "binary_little_endian"
    lines = [f"ply\nformat {form} 1.0\ncomment VCGLIB generated\nelement vertex {len(vertices)}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"property uchar {name}" for name in ("red", "green", "blue", "alpha")]
    lines += ["element face 1", "property list uchar int vertex_indices", "end_header\n"]
    header = "\n".join(lines).encode()
    if ascii_form:
        rows = [" ".join(f"{value:.9g}" for value in row) + " 1 2 3 255" for row in vertices]
        path.write_bytes(header + ("\n".join([*rows, "3 0 1 2"]) + "\n").encode())
        return
    body = [np.asarray(row, "<f4").tobytes() + bytes((1, 2, 3, 255)) for row in vertices]
    path.write_bytes(header + b"".join(body) + struct.pack("<B3i", 3, 0, 1, 2))


def write_mask_npz(path: Path, masks: NDArray[np.bool_], form: str = "csr") -> None:
    """Write masks [M, V] as `scipy.sparse.save_npz` does."""
    rows, columns = np.nonzero(masks)
    arrays: dict[str, Any] = {"row": rows.astype(np.int32), "col": columns.astype(np.int32)}
    if form != "coo":
        lines, inner = (rows, columns) if form == "csr" else (columns, rows)
        order = np.argsort(lines, kind="stable")
        counts = np.bincount(lines, minlength=masks.shape[0 if form == "csr" else 1])
        starts = np.concatenate([[0], np.cumsum(counts)])
        arrays = {"indices": inner[order].astype(np.int32), "indptr": starts.astype(np.int32)}
    np.savez_compressed(
        path,
        format=np.array(form.encode()),
        shape=np.array(masks.shape),
        data=np.ones(len(rows), dtype=bool),
        **arrays,
    )


def write_mask_text(folder: Path, scene_id: str, masks: Sequence[NDArray[np.bool_]]) -> None:
    """Write masks as Mask3D does: a list, and a file of zeros and ones per mask."""
    (folder / "pred_mask").mkdir(parents=True, exist_ok=True)
    lines = []
    for number, mask in enumerate(masks):
        name = f"pred_mask/{scene_id}_{number:03d}.txt"
        (folder / name).write_text("\n".join("1" if value else "0" for value in mask) + "\n")
        lines.append(f"{name} 5 {1 - number / 100:.4f}")
    (folder / f"{scene_id}.txt").write_text("\n".join(lines) + "\n")
