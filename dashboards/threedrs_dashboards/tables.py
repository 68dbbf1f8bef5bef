"""Tables of plain values, and their CSV: the data behind every plot and every table."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.responses import Response


@dataclass(frozen=True)
class Table:
    """Header and rows, numbers in full precision."""

    header: tuple[str, ...]
    rows: Sequence[Sequence[object]]

    def csv(self) -> str:
        """As comma-separated values."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(self.header)
        writer.writerows(self.rows)
        return out.getvalue()


LazyTable = Callable[[], Table]
"""Made only when somebody asks for its CSV."""


def csv_response(table: Table, name: str) -> Response:
    """A table as a file to save."""
    return file_response(table.csv(), f"{name}.csv", "text/csv; charset=utf-8")


def file_response(content: str | bytes, filename: str, media_type: str) -> Response:
    """Something to save; the name keeps only letters, digits and `._-@`."""
    safe = "".join(each if each.isalnum() or each in "._-@" else "_" for each in filename)
    ascii_name = safe.encode("ascii", "replace").decode().replace("?", "_")
    headers = {"Content-Disposition": f'attachment; filename="{ascii_name}"'}
    return Response(content, media_type=media_type, headers=headers)
