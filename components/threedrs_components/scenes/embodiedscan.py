"""EmbodiedScan's scene list: which frames of a scene have a pose, and its axis alignment."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from threedrs_components.json_files import read_json
from threedrs_components.scenes.boxes import SCENE_PREFIX
from threedrs_components.scenes.scene_names import is_scene_id
from threedrs_components.scenes.unreadable import UNREADABLE, machine_fault, said
from threedrs_platform.errors import DataError
from threedrs_platform.records import Float32

HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy.core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}
"""All that a pickle of dicts, lists and arrays needs; anything else is refused."""
TOO_MUCH = "it asks for more memory than there is: it is damaged, or this machine too small"


@dataclass(frozen=True)
class FrameList:
    """The frames of one scene that have a pose, and what is shared by all of them."""

    frame_names: tuple[str, ...]
    axis_alignment: Float32
    """[4, 4]"""
    depth_intrinsics: Float32
    """[3, 3]"""


def read_frame_lists(path: Path) -> dict[str, FrameList]:
    """Read EmbodiedScan infos (.pkl as released, or the same content as .json).

    Only entries whose sample_idx starts with "scannet/" are kept. A pickle is read without
    running any code: it may hold containers, numbers, text and arrays only.
    """
    content = _content(path)
    found: dict[str, FrameList] = {}
    try:
        for entry in content["data_list"]:
            name = str(entry["sample_idx"])
            if not name.startswith(SCENE_PREFIX):
                continue
            scene = _scene_id(name)
            if scene in found:
                raise ValueError(f"{name} stands in it twice")
            found[scene] = _frame_list(entry)
    except MemoryError as error:
        raise DataError(f"{path}: {TOO_MUCH}") from error
    except UNREADABLE as error:
        raise DataError(
            f"{path}: not an EmbodiedScan list; each entry of data_list needs sample_idx, images "
            f"(with img_path), axis_align_matrix and depth_cam2img: {said(error)}"
        ) from error
    return found


def _scene_id(name: str) -> str:
    """The scene that a sample_idx names: a folder of the posed images, and none elsewhere."""
    scene = name.removeprefix(SCENE_PREFIX)
    if not is_scene_id(scene):
        raise ValueError(f"sample_idx {name!r} names no folder of a scene")
    return scene


def _frame_list(entry: Mapping[str, Any]) -> FrameList:
    with np.errstate(over="ignore"):  # what overflows is refused as not finite
        alignment = np.asarray(entry["axis_align_matrix"], dtype=np.float32)
        intrinsics = np.asarray(entry["depth_cam2img"], dtype=np.float32)[:3, :3]
    if alignment.shape != (4, 4) or intrinsics.shape != (3, 3):
        raise ValueError(f"{entry['sample_idx']}: matrices of the wrong shape")
    if not np.isfinite(alignment).all() or not np.isfinite(intrinsics).all():
        raise ValueError(f"{entry['sample_idx']}: a matrix is not finite")
    names = tuple(PurePosixPath(str(image["img_path"])).stem for image in entry["images"])
    return FrameList(names, alignment, intrinsics)


def _content(path: Path) -> Any:
    if path.suffix == ".json":
        return read_json(path)
    try:
        with path.open("rb") as stream:
            return _DataUnpickler(_BoundedReader(stream, path.stat().st_size)).load()
    except MemoryError as error:  # a pickle says itself how much it wants
        raise DataError(f"{path}: cannot be read: {TOO_MUCH}") from error
    except UNREADABLE as error:
        fault = machine_fault(error, path)
        raise fault or DataError(f"{path}: cannot be read: {said(error)}") from error


class _BoundedReader:
    """A pickle's bytes, of which no more can be asked for than there are.

    An unpickler asks for memory before it reads: for a text as long as the stream says, and for a
    table of as many entries as the highest number in it. It is given no `readinto` and no `peek`,
    so that it asks here for each operation and its argument.
    """

    def __init__(self, stream: BinaryIO, size: int) -> None:
        take, operation = stream.read, b""

        # Closures: there are millions of calls.
        def read(length: int) -> bytes:
            nonlocal operation
            if length == 1:
                operation = take(1)
                return operation
            if length > size:
                raise EOFError(f"{length:,} bytes more are expected, the file has {size:,}")
            content = take(length)
            if length == 4 and operation == pickle.LONG_BINPUT:
                check_number(int.from_bytes(content, "little"))
            operation = b""
            return content

        def readline() -> bytes:
            line = stream.readline()
            if operation == pickle.PUT:
                check_number(int(line))
            return line

        def check_number(number: int) -> None:
            if number > size:  # each entry takes a byte of the file at the least
                raise pickle.UnpicklingError(f"object number {number:,} in {size:,} bytes")

        self.read, self.readline = read, readline


class _Array:
    """Stands for `numpy.ndarray` where a pickle names it: it is filled, never called."""


def _empty_array(kind: type, shape: Any, code: Any) -> NDArray[Any]:
    """What numpy's own pickles begin with; another would take memory as large as it likes."""
    if kind is not _Array or shape != (0,):
        raise pickle.UnpicklingError(f"refuses to make an array of shape {shape!r}"[:200])
    return np.empty(0, np.int8)


class _DataUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in HARMLESS:
            raise pickle.UnpicklingError(f"refuses to load {module}.{name} from a data file")
        return {"ndarray": _Array, "_reconstruct": _empty_array}.get(name) or super().find_class(
            module, name
        )
