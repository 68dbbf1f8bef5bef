"""ScanNet's `.sens` stream, version 4: colour, depth and camera of every frame, in one pass."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from threedrs_components.scenes.frames import MILLIMETRES, RIGID, rotation_error
from threedrs_components.scenes.unreadable import scene_errors
from threedrs_platform.errors import SceneError
from threedrs_platform.records import Float32

VERSION = 4
LONGEST_NAME = 4096
WIDEST = 1 << 13
"""Pixels of a side; a header that claims more is damaged."""
FRAME_HEADER = struct.Struct("<16f4Q")
"""Camera-to-world, times of colour and depth in microseconds, bytes of colour and depth."""
IMU_BYTES = 128
COLOURS = ("raw", "png", "jpeg")
DEPTHS = ("raw", "zlib", "occi")
RELEASED_QUALITY = 75
"""JPEG quality of imageio, which the released script writes with."""
FARTHEST_M = 1000.0
"""No camera moves further from the origin."""
FOCALS = 0.1, 20.0
"""Focal lengths, in widths of the image, of any camera that films rooms."""
SLACK = 1 << 16
"""Bytes that a compressed frame may have beyond its pixels."""


@dataclass(frozen=True)
class SensorHeader:
    """What all frames of a stream share."""

    color_intrinsics: Float32
    """[4, 4]"""
    depth_intrinsics: Float32
    """[4, 4]"""
    color_compression: str
    depth_compression: str
    color_size: tuple[int, int]
    """width, height"""
    depth_size: tuple[int, int]
    """width, height"""
    num_frames: int
    start: int
    """Byte of the first frame."""


@dataclass(frozen=True)
class SensorFrame:
    """One frame as it is stored."""

    index: int
    pose: Float32
    """[4, 4] camera-to-world; all -inf where tracking was lost"""
    color: bytes
    depth: bytes

    @property
    def has_pose(self) -> bool:
        """Whether the camera is a rigid motion."""
        return is_rigid(self.pose)


class SensorStream:
    """A `.sens` file: its header is read at once, payloads only of the frames that are asked for.

    Sizes are held against the size of the file before memory is asked for.
    """

    def __init__(self, scene_id: str, path: Path) -> None:
        """Read the header.

        Raises:
            SceneError: missing, no stream of version 4, or a header that contradicts the file.
        """
        self.scene_id, self.path = scene_id, path
        self.remark = ""
        """What is odd behind the frames that were read; "" if nothing is."""
        with scene_errors(scene_id, path, "stream"):
            self._file: BinaryIO = path.open("rb", buffering=0)
            self._size = os.fstat(self._file.fileno()).st_size
        try:
            self.header = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def frames(self, wanted: Collection[int]) -> Iterator[SensorFrame]:
        """The wanted frames, in order; others are stepped over.

        Raises:
            SceneError: the file ends before the last wanted frame does; names frame and byte.
        """
        (width, height), (columns, rows) = self.header.color_size, self.header.depth_size
        most = 4 * width * height + 2 * columns * rows + SLACK
        last, at = max(wanted, default=-1), self.header.start
        for index in range(self.header.num_frames):
            try:
                head = self._bytes(at, FRAME_HEADER.size, f"frame {index}")
                *pose, _, _, colors, depths = FRAME_HEADER.unpack(head)
                at += FRAME_HEADER.size
                self._need(at, colors + depths, f"frame {index}")
                if colors + depths > most:
                    raise self._fault(f"frame {index} claims {colors} and {depths} bytes")
            except SceneError as error:
                if index <= last:
                    raise
                self.remark = f"{error.reason}, behind the last wanted frame"
                return
            if index in wanted:
                payload = self._bytes(at, colors + depths, f"frame {index}")
                matrix = np.array(pose, dtype=np.float32).reshape(4, 4)
                yield SensorFrame(index, matrix, payload[:colors], payload[colors:])
            at += colors + depths
        self._check_end(at)

    def _check_end(self, at: int) -> None:
        """Behind the frames stands a count of inertial records and these, or nothing."""
        left = self._size - at
        if left >= 8:
            (records,) = struct.unpack("<Q", self._bytes(at, 8, "inertial records"))
            left -= 8 + IMU_BYTES * records
        if left:
            self.remark = f"after {self.header.num_frames} frames, at byte {at}, {self._size - at} "
            self.remark += "bytes follow that are no inertial records: the frame count may be wrong"

    def _read_header(self) -> SensorHeader:
        (version,) = struct.unpack("<I", self._bytes(0, 4, "header"))
        if version != VERSION:
            raise self._fault(f"is no .sens stream of version {VERSION}: version is {version}")
        (length,) = struct.unpack("<Q", self._bytes(4, 8, "header"))
        if length > LONGEST_NAME:
            raise self._fault(f"header claims a sensor name of {length} bytes")
        rest = struct.Struct("<64f2i4IfQ")
        values = rest.unpack(self._bytes(12 + length, rest.size, "header"))
        matrices = np.array(values[:64], dtype=np.float32).reshape(4, 4, 4)
        color, depth, *sides, shift, frames = values[64:]
        start = 12 + length + rest.size
        if shift != MILLIMETRES:
            raise self._fault(f"depth shift is {shift:g}, ScanNet's is {MILLIMETRES:g}")
        if not all(0 < side <= WIDEST for side in sides):
            raise self._fault(f"images of {sides[0]}x{sides[1]} and depth of {sides[2]}x{sides[3]}")
        if not 0 < frames <= (self._size - start) // FRAME_HEADER.size:
            room = f"{self._size} bytes hold at most {(self._size - start) // FRAME_HEADER.size}"
            raise self._fault(f"header claims {frames} frames; {room}")
        header = SensorHeader(
            color_intrinsics=self._intrinsics(matrices[0], sides[0], sides[1], "colour"),
            depth_intrinsics=self._intrinsics(matrices[2], sides[2], sides[3], "depth"),
            color_compression=self._known(COLOURS, color, "colour"),
            depth_compression=self._known(DEPTHS, depth, "depth"),
            color_size=(sides[0], sides[1]),
            depth_size=(sides[2], sides[3]),
            num_frames=frames,
            start=start,
        )
        if header.depth_compression == "occi":
            raise self._fault(
                "depth is compressed with occi, which only PrimeSense's library reads"
            )
        return header

    def _intrinsics(self, matrix: Float32, width: int, height: int, what: str) -> Float32:
        focal, centre = np.diag(matrix)[:2], matrix[:2, 2]
        rest = matrix.copy()
        rest[[0, 1, 0, 0, 1], [0, 1, 1, 2, 2]] = 1, 1, 0, 0, 0
        if not np.isfinite(matrix).all() or (rest != np.eye(4)).any():
            raise self._fault(f"{what} intrinsics are no pinhole camera's: {matrix.tolist()}")
        if not (FOCALS[0] * width < focal).all() or not (focal < FOCALS[1] * width).all():
            raise self._fault(f"{what} focal lengths {focal.tolist()} are none of {width} pixels")
        if (centre <= 0).any() or (centre >= (width, height)).any():
            point = f"({centre[0]:g}, {centre[1]:g})"
            raise self._fault(f"{what} principal point {point} is outside {width}x{height}")
        return matrix

    def _known(self, names: tuple[str, ...], number: int, what: str) -> str:
        if not 0 <= number < len(names):
            raise self._fault(f"{what} compression {number} is unknown")
        return names[number]

    def _need(self, at: int, size: int, what: str) -> None:
        if at + size > self._size:
            end = f"its {size} bytes begin at byte {at}, the file ends at byte {self._size}"
            raise self._fault(f"{what} is cut off: {end}")

    def _bytes(self, at: int, size: int, what: str) -> bytes:
        self._need(at, size, what)
        with scene_errors(self.scene_id, self.path, what):
            self._file.seek(at)
            content = self._file.read(size)
        if len(content) != size:
            raise self._fault(f"{what} is cut off at byte {at + len(content)}")
        return content

    def _fault(self, reason: str) -> SceneError:
        return SceneError(self.scene_id, reason, self.path)

    def depth(self, frame: SensorFrame) -> NDArray[np.uint16]:
        """Depth of a frame in millimetres, [h, w]; 0 is invalid.

        Raises:
            SceneError: it cannot be decompressed into the size that the header says.
        """
        width, height = self.header.depth_size
        size, content = 2 * width * height, frame.depth
        with scene_errors(self.scene_id, self.path, f"depth of frame {frame.index}"):
            if self.header.depth_compression == "zlib":
                engine = zlib.decompressobj()
                content = engine.decompress(frame.depth, size + 1)
                if not engine.eof and len(content) <= size:
                    raise ValueError("its zlib stream is cut off")
            if len(content) != size:
                raise ValueError(f"it is not of {width}x{height} pixels of 16 bits")
            return np.frombuffer(content, dtype="<u2").reshape(height, width)

    def jpeg(self, frame: SensorFrame, reencode: bool = False) -> bytes:
        """Colour of a frame as JPEG: as stored, or encoded again as the released script does.

        Raises:
            SceneError: it cannot be decoded, or is of another size than the header says.
        """
        with scene_errors(self.scene_id, self.path, f"colour of frame {frame.index}"):
            if self.header.color_compression == "raw":
                width, height = self.header.color_size
                pixels = np.frombuffer(frame.color, np.uint8).reshape(height, width, 3)
                return _encoded(Image.fromarray(pixels))
            with Image.open(io.BytesIO(frame.color), formats=("JPEG", "PNG")) as image:
                if image.size != self.header.color_size:
                    raise ValueError(f"it is of {image.size}, the header says otherwise")
                keep = image.format == "JPEG" and not reencode
                if keep:  # an eighth of the pixels shows whether all bytes are there
                    image.draft("L", (image.width // 8, image.height // 8))
                image.load()
                return frame.color if keep else _encoded(image.convert("RGB"))


def is_rigid(matrix: Float32, within: float = RIGID) -> bool:
    """Whether [4, 4] is a rotation and a translation, all finite."""
    if not np.isfinite(matrix).all() or np.abs(matrix[3] - (0, 0, 0, 1)).max() > within:
        return False
    if np.abs(matrix[:3, :3]).max() > 1 + within or np.abs(matrix[:3, 3]).max() > FARTHEST_M:
        return False  # and nothing overflows below
    return bool(rotation_error(matrix[None])[0] <= within)


def _encoded(image: Image.Image) -> bytes:
    target = io.BytesIO()
    image.save(target, "JPEG", quality=RELEASED_QUALITY)
    return target.getvalue()
