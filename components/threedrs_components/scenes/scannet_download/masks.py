"""Candidate boxes from Mask3D: the released `.mask.npz`, or the text files that Mask3D writes."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from threedrs_components.scenes.unreadable import scene_errors
from threedrs_components.scenes.zipped_arrays import zipped_array
from threedrs_platform.errors import SceneError


@dataclass(frozen=True)
class Proposals:
    """Candidate boxes of a scene, best first as the file has them, and how many were empty."""

    boxes: NDArray[np.float64]
    """[Q, 6]"""
    empty: int


def find_masks(folder: Path, scene_id: str) -> Path | None:
    """The file of a scene's masks in a folder of either form."""
    places = (folder / f"{scene_id}.mask.npz", folder / f"{scene_id}.txt")
    return next((path for path in places if path.is_file()), None)


def mask_inputs(path: Path, most: int) -> dict[str, Path]:
    """The file of masks and the first of those that it lists; alone if it lists none soundly."""
    listed: list[Path] = []
    if path.suffix != ".npz":
        with contextlib.suppress(OSError, ValueError, SceneError):
            listed = _listed_files("", path, most)
    return {"masks": path} | {f"mask {number}": each for number, each in enumerate(listed)}


def read_proposals(scene_id: str, path: Path, aligned: NDArray[np.float64], most: int) -> Proposals:
    """Boxes of the first masks: from the lowest to the highest vertex where a mask is 1.

    Args:
        scene_id: for errors.
        path: `<scene>.mask.npz` or `<scene>.txt`.
        aligned: [V, 3] vertices of the mesh that the masks are of, axis-aligned.
        most: masks to read, in the order of the file; empty ones among them give no box.

    Raises:
        SceneError: unreadable, or of another mesh.
    """
    with scene_errors(scene_id, path, "file of masks"):
        read = _sparse if path.suffix == ".npz" else _listed
        corners = []
        masks = 0
        for vertices in read(scene_id, path, len(aligned), most):
            masks += 1
            if len(vertices):
                corners.append((aligned[vertices].min(axis=0), aligned[vertices].max(axis=0)))
        boxes = [np.concatenate([(low + high) / 2, high - low]) for low, high in corners]
        return Proposals(np.array(boxes).reshape(-1, 6), masks - len(corners))


def _sparse(scene_id: str, path: Path, num_vertices: int, most: int) -> Iterator[NDArray[np.int64]]:
    """Vertices of each mask of a matrix [masks, vertices] that SciPy saved."""
    with zipfile.ZipFile(path) as archive:
        form = zipped_array(archive, "format").item()
        form = form.decode("ascii") if isinstance(form, bytes) else str(form)
        masks, vertices = (int(side) for side in zipped_array(archive, "shape").tolist())
        if vertices != num_vertices:
            reason = f"masks are of {vertices} vertices, the mesh has {num_vertices}"
            raise SceneError(scene_id, reason, path)
        values = zipped_array(archive, "data")
        if form == "coo":
            rows, columns = zipped_array(archive, "row"), zipped_array(archive, "col")
        elif form in ("csr", "csc"):
            inner, starts = zipped_array(archive, "indices"), zipped_array(archive, "indptr")
            outer = _expanded(starts, masks if form == "csr" else vertices, len(values))
            rows, columns = (outer, inner) if form == "csr" else (inner, outer)
        else:
            raise ValueError(f"its sparse format is {form}; csr, csc and coo are read")
    rows, columns = _indices(rows, masks), _indices(columns, vertices)
    if not len(rows) == len(columns) == len(values):
        raise ValueError("its values and their places are of different number")
    taken = (values == 1) & (rows < most)
    rows, columns = rows[taken], columns[taken]
    order = np.argsort(rows, kind="stable")
    ends = np.searchsorted(rows[order], np.arange(min(masks, most) + 1))
    for first, last in pairwise(ends.tolist()):
        yield columns[order[first:last]]


def _expanded(starts: NDArray[np.generic], lines: int, entries: int) -> NDArray[np.int64]:
    """The line of each entry, from where each line starts."""
    if starts.dtype.kind not in "iu" or starts.shape != (lines + 1,):
        raise ValueError("its indptr does not fit its shape")
    bounds = starts.astype(np.int64)
    counts = bounds[1:] - bounds[:-1]
    if starts[0] != 0 or starts[-1] != entries or (counts < 0).any():
        raise ValueError("its indptr does not fit its values")
    return np.repeat(np.arange(lines), counts)


def _indices(array: NDArray[np.generic], size: int) -> NDArray[np.int64]:
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError("its places are no whole numbers")
    places = array.astype(np.int64)
    if len(places) and not 0 <= places.min() <= places.max() < size:
        raise ValueError("its places lie outside its shape")
    return places


def _listed(scene_id: str, path: Path, num_vertices: int, most: int) -> Iterator[NDArray[np.int64]]:
    """Vertices of each mask of a list of files, a line each: file, label, score."""
    for target in _listed_files(scene_id, path, most):
        with scene_errors(scene_id, target, "mask"):
            values = np.array(target.read_bytes().split())
            if len(values) != num_vertices:
                raise ValueError(f"{len(values)} values, the mesh has {num_vertices} vertices")
            if not np.isin(values, (b"0", b"1")).all():
                raise ValueError("each line of a mask must be 0 or 1")
            yield np.flatnonzero(values == b"1")


def _listed_files(scene_id: str, path: Path, most: int) -> list[Path]:
    lines = [words for words in (line.split() for line in path.read_text().splitlines()) if words]
    root = path.parent.resolve()
    targets = []
    for words in lines[:most]:
        if len(words) != 3:
            raise ValueError(f"line {' '.join(words)[:80]!r} is not: file, label, score")
        target = (root / words[0]).resolve()
        if not target.is_relative_to(root):
            raise SceneError(scene_id, f"mask {words[0]!r} lies outside its folder", path)
        targets.append(target)
    return targets
