"""Files of records, whatever their format: JSON, JSON Lines or Parquet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from threedrs_components.json_files import read_json, read_lines
from threedrs_platform.errors import AnnotationError


def read_table(path: Path) -> list[Any]:
    """The records of a JSON Lines or Parquet file.

    Raises:
        AnnotationError: the file is missing, cut off or of another kind.
    """
    if path.suffix != ".parquet":
        return read_lines(path)
    from pyarrow import ArrowException, parquet

    try:
        rows: list[Any] = parquet.read_table(path).to_pylist()
    except (OSError, ValueError, ArrowException) as error:
        said = " ".join(str(error).split())[:200]
        reason = f"cannot be read as Parquet, is it complete? {said}"
        raise AnnotationError(path, "-", "file", reason) from error
    return rows


def read_values(path: Path) -> Any:
    """The JSON value of a file, or the list of records of a JSON Lines or Parquet file."""
    return read_table(path) if path.suffix in (".jsonl", ".parquet") else read_json(path)
