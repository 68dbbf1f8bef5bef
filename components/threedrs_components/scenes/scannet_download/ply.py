"""The vertices of a ply mesh, binary (little endian) or ascii."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from threedrs_components.scenes.unreadable import scene_errors
from threedrs_platform.records import Float32

TYPES = {
    **dict.fromkeys(("char", "int8"), "i1"),
    **dict.fromkeys(("uchar", "uint8"), "u1"),
    **dict.fromkeys(("short", "int16"), "<i2"),
    **dict.fromkeys(("ushort", "uint16"), "<u2"),
    **dict.fromkeys(("int", "int32"), "<i4"),
    **dict.fromkeys(("uint", "uint32"), "<u4"),
    **dict.fromkeys(("float", "float32"), "<f4"),
    **dict.fromkeys(("double", "float64"), "<f8"),
}
LONGEST_HEADER = 1 << 16
LARGEST_ROOM_M = 500.0
"""A vertex further away is damage: ScanNet's rooms lie around the origin."""


def read_vertices(scene_id: str, path: Path) -> Float32:
    """Read x, y, z of every vertex, [V, 3] metres; other properties are stepped over.

    Raises:
        SceneError: missing, not such a mesh, or shorter than its header says.
    """
    with scene_errors(scene_id, path, "mesh"):
        content = path.read_bytes()
        ending = content.find(b"end_header\n", 0, LONGEST_HEADER)
        if not content.startswith(b"ply") or ending < 0:
            raise ValueError("it does not begin as a ply file does")
        form, count, row = _vertex_layout(content[:ending].decode("ascii"))
        body = memoryview(content)[ending + len(b"end_header\n") :]
        if form == "ascii":
            lines = bytes(body).split(b"\n", count)[:count]
            if len(lines) < count:
                raise ValueError(f"header claims {count} vertices, {len(lines)} lines follow")
            columns = [list(row.names or ()).index(axis) for axis in "xyz"]
            words = [line.split() for line in lines]
            values = [[float(each[column]) for column in columns] for each in words]
            vertices = np.array(values, dtype=np.float32)
        else:
            if count * row.itemsize > len(body):
                raise ValueError(f"header claims {count} vertices, {len(body)} bytes follow")
            table = np.frombuffer(body, row, count)
            vertices = np.stack([table[axis].astype(np.float32) for axis in "xyz"], axis=-1)
        if not np.isfinite(vertices).all() or np.abs(vertices).max() > LARGEST_ROOM_M:
            raise ValueError(f"a vertex is not finite, or beyond {LARGEST_ROOM_M:g} m")
        return vertices


def _vertex_layout(header: str) -> tuple[str, int, np.dtype[np.void]]:
    """Format, number of vertices, and the fields of one."""
    form, element, count = "", "", 0
    fields: list[tuple[str, str]] = []
    for words in (line.split() for line in header.splitlines()):
        match words:
            case ["format", name, "1.0"]:
                form = name
            case ["element", "vertex", number]:
                if element:
                    raise ValueError(f"element {element} stands before the vertices")
                element, count = "vertex", int(number)
            case ["element", name, _]:
                element = name
            case ["property", "list", *_] if element == "vertex":
                raise ValueError("vertices have a list property")
            case ["property", kind, name] if element == "vertex":
                fields.append((name, TYPES[kind]))
    if form not in ("ascii", "binary_little_endian"):
        raise ValueError(f"format {form or 'unknown'}; ascii and binary_little_endian are read")
    if count <= 0 or not {"x", "y", "z"} <= {name for name, _ in fields}:
        raise ValueError("it has no vertices with x, y and z")
    return form, count, np.dtype(fields)
