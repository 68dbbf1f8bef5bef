"""Scenes as the student reads them: squashed frames, token coordinates, object weights, pairs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from threedrs_components.scenes.birds_eye import birds_eye_view
from threedrs_components.scenes.coverage import Coverage, coverage_of, covering_choice
from threedrs_components.scenes.cross_checks import (
    Check,
    box_check,
    geometry_checks,
    require,
)
from threedrs_components.scenes.frames import (
    centre_square,
    frame_tensor,
    kept_frames,
    resize_images,
    uniform_choice,
)
from threedrs_components.scenes.geometry import (
    box_cell_weights,
    camera_centres,
    cell_means,
    nearest_pixels,
    world_coordinates,
)
from threedrs_components.scenes.pairs import PAIR_ARRAYS, PairMatrix, token_pair_matrix
from threedrs_components.scenes.prepare_config import ChecksConfig, Level
from threedrs_components.scenes.prepare_config import PrepareConfig as PrepareConfig
from threedrs_components.scenes.token_geometry import STORED, TokenGeometry, token_geometry
from threedrs_components.scenes.unreadable import machine_fault
from threedrs_components.scenes.voxels import narrowly_binned
from threedrs_platform.errors import DataError, SceneError
from threedrs_platform.records import Boxes, Float32, Scene, UInt8
from threedrs_platform.sealed import write_sealed


@dataclass(frozen=True)
class PreparedScene:
    """One scene, ready for a student. F frames, P token grid side, K objects, Q proposals.

    Tokens are numbered frame by frame, row by row: T = F * P * P.
    """

    scene_id: str
    frame_names: tuple[str, ...]
    labels: tuple[str, ...]
    images: Tensor
    """[F, H, W, 3] uint8"""
    coordinates: Tensor
    """[F, P, P, 3] float32: mean world point of the cell's valid pixels, 0 where none"""
    counts: Tensor
    """[F, P, P] int32: valid pixels per cell"""
    object_ids: Tensor
    """[K] int64"""
    boxes: Tensor
    """[K, 6] float32"""
    object_weights: Tensor
    """[K, F, P, P] float32: share of the cell's pixels inside the object's box"""
    proposals: Tensor
    """[Q, 6] float32"""
    proposal_weights: Tensor
    """[Q, F, P, P] float32"""
    object_patches: Tensor | None = None
    """[K, F, R, R] float32 like object_weights, for the finer cells of prepare.patch_grid"""
    proposal_patches: Tensor | None = None
    """[Q, F, R, R] float32"""
    birds_eye: Tensor | None = None
    """[B, B, 4] uint8 the room from above, of prepare.birds_eye pixels: colour, and whether seen"""
    pairs: PairMatrix | None = None
    """Correspondences between tokens, counted in pixels; None for a scene that never had any"""
    voxel_m: float = 0.1
    """Edge of the voxels of `pairs`"""
    geometry: TokenGeometry | None = None
    """Depth, normals and cameras at the token grid; None of colour alone"""
    has_proposals: bool = True
    """Whether a list of proposals, maybe an empty one, was there"""
    dropped_frames: Mapping[str, str] = field(default_factory=dict)
    """Frames that are no part of the scene, and why; lies beside the file, not in it"""
    checks: tuple[Check, ...] = ()
    """What was found of contradictions; lies beside the file, not in it"""
    coverage: Coverage | None = None
    """What its frames see of what there was to choose from; None without depth; lies beside"""
    key: str = ""
    """Of whatever it was made from, where somebody keeps account of that"""

    @property
    def grid(self) -> int:
        """Token rows (and columns) per frame."""
        return int(self.counts.shape[1])

    def frame_batch(self) -> Tensor:
        """Frames as [F, 3, H, W] float32 in [0, 1]."""
        return frame_tensor(self.images.numpy())


TENSORS = tuple(item.name for item in dataclasses.fields(PreparedScene) if item.type == "Tensor")
OPTIONAL_TENSORS = ("object_patches", "proposal_patches", "birds_eye")
"""Written only with prepare.patch_grid, prepare.birds_eye."""
METADATA = "scene"
"""Name of the metadata of a prepared file."""
FOUND = ".found.json"
"""Ending of the file with what a preparation found of a scene."""


def prepare_scene(
    scene: Scene, proposals: Float32 | list[list[float]] | None, config: PrepareConfig
) -> PreparedScene:
    """Reduce one scene; None says that nobody proposed candidates for it."""
    whole, scene = scene, choose_frames(scene, config.num_frames, config.coverage_voxel_m)
    if not scene.has_geometry:
        return _colour_alone(scene, config)
    limits = config.checks
    checks = () if limits.mode == "skip" else geometry_checks(scene, limits)
    if limits.mode == "refuse":
        require(scene.scene_id, checks)
    images, points, valid = _framed(scene, config)
    if not bool(valid.any()):
        raise SceneError(scene.scene_id, "no pixel of the chosen frames has valid depth")
    size, seen = config.image_size, config.seen
    resized = torch.from_numpy(resize_images(images, size, size).copy())
    above = None
    if config.birds_eye is not None:
        above = birds_eye_view(scene, points, valid, resized[:, :seen, :seen], config.birds_eye)
    geometry = token_geometry(
        scene, points, valid, lambda maps: _framed_maps(maps, config), config.grid
    )
    pairs = _pixel_pairs(scene, points, valid, config)
    if config.invalid_depth == "camera_centre":
        points, valid = _at_cameras(scene, points, valid), torch.ones_like(valid)
    dtype: torch.dtype = getattr(torch, config.arithmetic)
    points = points.to(dtype)
    coordinates, counts = cell_means(points.to(torch.float32), valid, config.grid, config.grid)
    if dtype != torch.float32:
        coordinates = narrowly_binned(coordinates, dtype)
    objects = scene.objects or Boxes((), (), np.zeros((0, 6), np.float32))
    boxes = _box_tensor(objects.boxes).to(dtype)
    candidates = _box_tensor([] if proposals is None else proposals).to(dtype)
    every = torch.cat([boxes, candidates])
    grids = [grid for grid in (config.grid, config.patch_grid) if grid is not None]
    weights, *finer = box_cell_weights(points, valid, every, grids)
    checks = (*checks, *_box_checks(scene, weights, len(boxes), limits))
    if limits.mode == "refuse":
        require(scene.scene_id, checks)
    patches = finer[0] if finer else None
    return PreparedScene(
        scene_id=scene.scene_id,
        frame_names=scene.frame_names,
        labels=objects.labels,
        images=resized,
        coordinates=coordinates,
        counts=counts,
        object_ids=torch.tensor(objects.object_ids, dtype=torch.int64),
        boxes=boxes.to(torch.float32),
        object_weights=weights[: len(boxes)],
        proposals=candidates.to(torch.float32),
        proposal_weights=weights[len(boxes) :],
        object_patches=None if patches is None else patches[: len(boxes)],
        proposal_patches=None if patches is None else patches[len(boxes) :],
        birds_eye=above,
        pairs=pairs,
        voxel_m=config.voxel_m,
        geometry=geometry,
        has_proposals=proposals is not None,
        dropped_frames=scene.dropped_frames,
        checks=checks,
        coverage=coverage_of(whole, scene.frame_names, config.voxel_m),
    )


def _box_checks(
    scene: Scene, weights: Tensor, objects: int, limits: ChecksConfig
) -> tuple[Check, ...]:
    if limits.mode == "skip" or not (scene.depth > 0).any():
        return ()
    hit, views = (weights > 0).flatten(1).any(1).numpy(), len(set(scene.frame_names))
    kinds = {"objects": hit[:objects], "proposals": hit[objects:]}
    return tuple(box_check(kind, held, views, limits) for kind, held in kinds.items() if len(held))


def _colour_alone(scene: Scene, config: PrepareConfig) -> PreparedScene:
    """A scene of which nothing is known but its frames: no token has a place in the room."""
    if config.birds_eye is not None:
        raise SceneError(
            scene.scene_id,
            "has no depth and no cameras, so it cannot be seen from above; set prepare.birds_eye: "
            "null (and reconstruction.birds_eye: null)",
        )
    images, size, cells = (
        scene.images,
        config.image_size,
        (len(scene.images), config.grid, config.grid),
    )
    if config.resize == "crop":
        rows, columns = centre_square(*images.shape[1:3])
        images = images[:, rows, columns]
    nowhere, weights = torch.zeros(*cells, 3), torch.zeros(0, *cells)
    counts, boxes = torch.zeros(cells, dtype=torch.int32), torch.zeros(0, 6)
    return PreparedScene(
        scene_id=scene.scene_id,
        frame_names=scene.frame_names,
        labels=(),
        images=torch.from_numpy(resize_images(images, size, size).copy()),
        coordinates=nowhere,
        counts=counts,
        object_ids=torch.zeros(0, dtype=torch.int64),
        boxes=boxes,
        object_weights=weights,
        proposals=boxes.clone(),
        proposal_weights=weights.clone(),
        pairs=token_pair_matrix(nowhere, counts > 0, grid=config.grid, voxel_m=config.voxel_m),
        voxel_m=config.voxel_m,
        has_proposals=False,
    )


def _framed(scene: Scene, config: PrepareConfig) -> tuple[UInt8, Tensor, Tensor]:
    """Images [F, H, W, 3], and world points [F, s, s, 3] and validity [F, s, s] of their pixels.

    Images are not yet resized; s is the side of what the student's tower covers of them then.
    """
    images = scene.images
    if config.resize == "crop":
        rows, columns = centre_square(*images.shape[1:3])
        images = images[:, rows, columns]
    points, valid = (_framed_maps(each, config) for each in scene_points(scene))
    return images, points, valid


def _framed_maps(maps: Tensor, config: PrepareConfig) -> Tensor:
    """Maps [F, h, w, ...] of depth pixels, cut to what the tower covers: [F, s, s, ...]."""
    if config.resize == "crop":
        rows, columns = centre_square(*maps.shape[1:3])
        maps = maps[:, rows, columns]
    size, seen = config.image_size, config.seen
    return nearest_pixels(maps, size, size)[:, :seen, :seen]


def _at_cameras(scene: Scene, points: Tensor, valid: Tensor) -> Tensor:
    """Points [F, s, s, 3] with those that are not valid at the centre of their frame's camera."""
    centres = camera_centres(
        torch.from_numpy(scene.camera_to_world), torch.from_numpy(scene.axis_alignment)
    )
    return torch.where(valid[..., None], points, centres[:, None, None])


def scene_geometry(scene: PreparedScene) -> TokenGeometry:
    """Depth, normals and cameras of a prepared scene.

    Raises:
        DataError: it has none, or was prepared before they were kept.
    """
    if scene.geometry is None:
        raise DataError(
            f"scene {scene.scene_id}: the prepared file holds no depth and no cameras; prepare it "
            "again, from a source that has them"
        )
    return scene.geometry


def scene_birds_eye(scene: PreparedScene) -> Tensor:
    """The room from above, [B, B, 4] uint8.

    Raises:
        DataError: it was prepared without.
    """
    if scene.birds_eye is None:
        raise DataError(
            f"scene {scene.scene_id}: the prepared file holds no bird's-eye view; prepare it again "
            "with prepare.birds_eye, the side of the picture in pixels"
        )
    return scene.birds_eye


def scene_pairs(scene: PreparedScene, *, level: Level, voxel_m: float) -> PairMatrix:
    """Correspondences of a prepared scene. A frame that is repeated has none with itself.

    Raises:
        DataError: the pixels are gone, so the level "pixel" knows one size of voxels only.
    """
    if level == "token":
        located = (scene.counts > 0) & _first_views(scene.frame_names)
        return token_pair_matrix(scene.coordinates, located, grid=scene.grid, voxel_m=voxel_m)
    if scene.pairs is None:
        raise DataError(f"scene {scene.scene_id}: has no pixels; use the level 'token'")
    if voxel_m != scene.voxel_m:
        raise DataError(
            f"scene {scene.scene_id}: prepared with voxels of {scene.voxel_m} m, asked for "
            f"{voxel_m} m; set prepare.voxel_m to it, or use the level 'token'"
        )
    return scene.pairs


def _pixel_pairs(scene: Scene, points: Tensor, valid: Tensor, config: PrepareConfig) -> PairMatrix:
    located = valid & _first_views(scene.frame_names)
    try:
        return token_pair_matrix(points, located, grid=config.grid, voxel_m=config.voxel_m)
    except ValueError as error:
        raise SceneError(scene.scene_id, str(error)) from error


def _first_views(frame_names: tuple[str, ...]) -> Tensor:
    """[F, 1, 1] bool: frames that did not occur before."""
    first = [name not in frame_names[:at] for at, name in enumerate(frame_names)]
    return torch.tensor(first)[:, None, None]


def choose_frames(scene: Scene, num_frames: int, coverage_voxel_m: float | None = None) -> Scene:
    """Keep `num_frames` frames; the frame list is cut with everything else.

    Evenly spread ones, or those that see most voxels of a size. Of colour alone there may be fewer:
    no frame is repeated.
    """
    if not scene.has_geometry:
        num_frames = min(num_frames, len(scene.frame_names))
    if len(scene.frame_names) == num_frames:
        return scene
    if coverage_voxel_m is not None and scene.has_geometry:
        return kept_frames(scene, covering_choice(scene, num_frames, coverage_voxel_m))
    return kept_frames(scene, uniform_choice(len(scene.frame_names), num_frames))


def scene_points(scene: Scene) -> tuple[Tensor, Tensor]:
    """World points [F, h, w, 3] of every depth pixel and their validity [F, h, w]."""
    return world_coordinates(
        torch.from_numpy(scene.depth),
        torch.from_numpy(scene.depth_intrinsics),
        torch.from_numpy(scene.camera_to_world),
        torch.from_numpy(scene.axis_alignment),
    )


def write_prepared(prepared: PreparedScene, root: Path) -> Path:
    """Write `<root>/<scene_id>.safetensors`, sealed; a reader never sees half a file.

    What was found on the way goes into a file beside it, before: limits and wording of checks must
    not make other bytes of what training reads.
    """
    found = {
        "frames": len(set(prepared.frame_names)),
        "dropped_frames": dict(prepared.dropped_frames),
        "checks": [asdict(check) for check in prepared.checks],
        "coverage": None if prepared.coverage is None else asdict(prepared.coverage),
    }
    path, beside = prepared_files(root, prepared.scene_id)
    write_sealed(beside, lambda partial: partial.write_text(json.dumps(found)))
    metadata = {
        "scene_id": prepared.scene_id,
        "frame_names": json.dumps(prepared.frame_names),
        "labels": json.dumps(prepared.labels),
        "voxel_m": json.dumps(prepared.voxel_m),
        "has_proposals": json.dumps(prepared.has_proposals),
        "key": prepared.key,
    }
    given = {name: getattr(prepared, name) for name in (*TENSORS, *OPTIONAL_TENSORS)}
    tensors = {name: value.contiguous() for name, value in given.items() if value is not None}
    if prepared.geometry is not None:
        tensors |= {name: each.contiguous() for name, each in prepared.geometry.tensors().items()}
    if prepared.pairs is not None:
        arrays = prepared.pairs.arrays()
        tensors |= {name: torch.from_numpy(array) for name, array in arrays.items()}
    # Under one name: safetensors writes several in an order that differs from process to process.
    content = {METADATA: json.dumps(metadata, sort_keys=True)}
    write_sealed(path, lambda partial: save_file(tensors, partial, content))
    return path


def prepared_files(root: Path, scene_id: str) -> tuple[Path, Path]:
    """Where a prepared scene lies, and what was found of it."""
    return root / f"{scene_id}.safetensors", root / f"{scene_id}{FOUND}"


class PreparedScenes:
    """Prepared scenes of one folder, memory-mapped when asked for."""

    def __init__(self, root: Path, *, pairs: bool = True) -> None:
        """Open nothing yet.

        Args:
            root: the folder.
            pairs: whether scenes bring their correspondences, the one thing that is copied.

        Raises:
            DataError: there is no such folder.
        """
        if not root.is_dir():
            raise DataError(f"{root}: no such folder of prepared scenes")
        self.root, self.pairs = root, pairs

    def scenes(self) -> list[str]:
        """Scene ids, sorted."""
        return sorted(path.stem for path in self.root.glob("*.safetensors"))

    def __len__(self) -> int:
        return len(self.scenes())

    def __contains__(self, scene_id: str) -> bool:
        return (self.root / f"{scene_id}.safetensors").is_file()

    def __iter__(self) -> Iterator[PreparedScene]:
        return (self[scene_id] for scene_id in self.scenes())

    def __getitem__(self, scene_id: str) -> PreparedScene:
        """Open one scene; its tensors are mapped from disk, not copied."""
        path = self.root / f"{scene_id}.safetensors"
        if scene_id not in self:
            raise SceneError(scene_id, "was not prepared", path)
        try:
            with safe_open(path, framework="pt") as content:
                metadata = json.loads(content.metadata()[METADATA])
                held = set(content.keys())
                optional = held.intersection(OPTIONAL_TENSORS)
                tensors = {name: content.get_tensor(name) for name in (*TENSORS, *optional)}
                stored = held.intersection(PAIR_ARRAYS if self.pairs else ())
                pairs = {name: content.get_tensor(name).numpy() for name in stored}
                geometry = {name: content.get_tensor(name) for name in held.intersection(STORED)}
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            if (fault := machine_fault(error, path)) is not None:
                raise fault from error
            raise SceneError(scene_id, f"prepared file cannot be read: {error}", path) from error
        return PreparedScene(
            scene_id=scene_id,
            frame_names=tuple(json.loads(metadata["frame_names"])),
            labels=tuple(json.loads(metadata["labels"])),
            pairs=PairMatrix.from_arrays(pairs) if pairs else None,
            geometry=TokenGeometry.from_tensors(geometry) if geometry else None,
            voxel_m=float(metadata["voxel_m"]),
            has_proposals=bool(json.loads(metadata.get("has_proposals", "true"))),
            key=metadata.get("key", ""),
            **tensors,
        )


def _box_tensor(boxes: Float32 | list[list[float]]) -> Tensor:
    return torch.from_numpy(np.asarray(boxes, dtype=np.float32).reshape(-1, 6).copy())
