"""A folder of data held against the catalogue: what is there, and which grids can run with it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from threedrs_components.record_files import read_values
from threedrs_platform.errors import ConfigError, ThreedrsError
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.identity.recipes import sha256_file
from threedrs_workflows.grid.cells import load_cells
from threedrs_workflows.grid.presets import presets_folder
from threedrs_workflows.grid.starts import refuse_wrong_starts
from threedrs_workflows.plan.annotation_records import record_files
from threedrs_workflows.plan.binding import bind_cells
from threedrs_workflows.sources.catalogue import Source, SourceFile, catalogue

State = Literal["present", "missing", "wrong"]
MOST_HASHED = 1 << 28
"""Larger files are told by their size alone: weights are hashed where a run reads them."""
RECORD_LISTS = ("questions", "annotations")
"""Under which an annotation file that is no list holds its records."""
DATA = "DATA"
"""Variable of the presets that names the folder."""


@dataclass(frozen=True)
class FileState:
    """What was found of one file."""

    source: str
    path: str
    state: State
    note: str = ""
    """What is wrong with it, or how much of a folder is there."""
    bytes: int | None = None
    records: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class GridState:
    """Whether a grid can run."""

    grid: str
    missing: tuple[str, ...] = ()
    """Files and folders that it names and that are not there, under the folder of the data."""
    sources: tuple[str, ...] = ()
    """Sources of the catalogue that these are of."""
    reads: tuple[str, ...] = ()
    """Sources of all that it names, whether it is there or not."""
    faults: tuple[str, ...] = ()
    """What else stops it."""

    @property
    def can_run(self) -> bool:
        """Whether nothing stops it."""
        return not self.missing and not self.faults


def check_files(
    root: Path, progress: Callable[[str], None] = lambda path: None
) -> Iterator[FileState]:
    """Every file of the catalogue, in its order."""
    for name, source in catalogue().items():
        for file in source.files:
            if (root / file.path).exists():
                progress(file.path)
            yield _state(name, file, root / file.path)


def check_grids(root: Path, folder: Path | None = None) -> Iterator[GridState]:
    """Every grid of the paper, as its own defaults have it, with this folder as DATA."""
    grids = folder or presets_folder().parent / "grids"
    for path in sorted(grids.glob("*.yaml")):
        with _data_in(root):
            try:
                grid = load_cells(path)
                if str(root) not in grid.base.model_dump_json():
                    continue  # it renders its world, and needs nothing of this
                # Reads nothing: whether things are there is all that matters here.
                digests = FileDigests(absent={}, most_bytes=0)
                bind_cells(grid, digests, need_data=False)
                experiments = [cell.experiment for cell in grid.cells]
                refuse_wrong_starts(experiments)
            except ConfigError as error:
                yield GridState(path.stem, faults=tuple(map(str, error.faults)))
            except ThreedrsError as error:
                yield GridState(path.stem, faults=(str(error),))
            else:
                absent = {*map(Path, digests.absent or {})}
                present = {*map(Path, digests.unhashed)} | {
                    file for each in experiments for file in record_files(each)
                }
                missing = sorted(os.path.relpath(each, root) for each in absent)
                named = [*missing, *(os.path.relpath(each, root) for each in present)]
                yield GridState(
                    path.stem, tuple(missing), sources_of(missing), reads=sources_of(named)
                )


def sources_of(paths: Sequence[str]) -> tuple[str, ...]:
    """Sources with a file at, above or below one of the paths."""

    def is_of(source: Source, path: str) -> bool:
        names = [file.path for file in source.files]
        return any(f"{path}/".startswith(f"{n}/") or f"{n}/".startswith(f"{path}/") for n in names)

    return tuple(
        name for name, source in catalogue().items() if any(is_of(source, path) for path in paths)
    )


def _state(source: str, file: SourceFile, path: Path) -> FileState:
    if not path.exists():
        return FileState(source, file.path, "missing")
    if path.is_dir():
        return _folder(source, file, path)
    if not path.is_file() or file.scenes is not None:
        wanted = "a file" if file.scenes is None else "a folder"
        return FileState(source, file.path, "wrong", f"is not {wanted}, as it should be")
    size = path.stat().st_size
    if file.bytes is not None and size != file.bytes:
        note = f"{size:,} bytes, the published file has {file.bytes:,}"
        return FileState(source, file.path, "wrong", note, size)
    digest = sha256_file(path) if size <= MOST_HASHED else None
    if file.sha256 is not None and digest is not None and digest != file.sha256:
        note = "another content than the published file has (sha256)"
        return FileState(source, file.path, "wrong", note, size, sha256=digest)
    if file.records is None and path.suffix != ".json":
        return FileState(source, file.path, "present", "", size, sha256=digest)
    try:
        records = _records(path)
    except ThreedrsError as error:
        return FileState(source, file.path, "wrong", str(error), size, sha256=digest)
    if file.records in (None, records):
        return FileState(source, file.path, "present", "", size, records, digest)
    note = f"{records:,} records, the published revision has {file.records:,}"
    return FileState(source, file.path, "wrong", note, size, records, digest)


def _folder(source: str, file: SourceFile, path: Path) -> FileState:
    names = [each for each in path.iterdir() if not each.name.startswith(".")]
    if not names:
        return FileState(source, file.path, "wrong", "the folder is empty")
    if file.scenes is None or len(names) >= file.scenes:
        return FileState(source, file.path, "present", f"{len(names):,} entries")
    note = f"{len(names):,} of {file.scenes:,} scenes"
    return FileState(source, file.path, "present", note)


def _records(path: Path) -> int:
    if path.suffix == ".jsonl":  # too large to be held
        with path.open("rb") as file:
            return sum(1 for line in file if line.strip())
    values = read_values(path)
    if isinstance(values, dict):
        values = next((values[name] for name in RECORD_LISTS if name in values), values)
    return len(values)


@contextmanager
def _data_in(root: Path) -> Iterator[None]:
    before = os.environ.get(DATA)
    os.environ[DATA] = str(root)
    try:
        yield
    finally:
        os.environ.pop(DATA) if before is None else os.environ.update({DATA: before})
