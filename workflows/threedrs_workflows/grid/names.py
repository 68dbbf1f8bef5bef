"""Names of cells for people: only the settings that vary, with their values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from threedrs_platform.config.paths import split_path
from threedrs_platform.config.tree import get_in

_ABSENT = object()
_WITHOUT_SPACES = json.JSONEncoder(separators=(",", ":"))


def axis_values(
    cells: Mapping[str, Mapping[str, Any]], paths: Sequence[str], base: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Per cell, the values of those settings that differ between cells, or from the base.

    Args:
        cells: by id, the settings that have an effect in the cell.
        paths: the settings to look at, in the order of the result.
        base: all settings of the baseline.
    """
    values = {
        cell_id: {path: get_in(data, split_path(path), _ABSENT) for path in paths}
        for cell_id, data in cells.items()
    }
    varying = [
        path
        for path in paths
        if any(
            row[path] not in (_ABSENT, get_in(base, split_path(path))) for row in values.values()
        )
    ]
    return {
        cell_id: {path: row[path] for path in varying if row[path] is not _ABSENT}
        for cell_id, row in values.items()
    }


def cell_name(axes: Mapping[str, Any]) -> str:
    """`teacher=vggt,alignment.layers=[2]`."""
    return ",".join(f"{path}={_compact(value)}" for path, value in axes.items())


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else _WITHOUT_SPACES.encode(value)
