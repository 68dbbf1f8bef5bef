"""Which annotation files a cell reads, and the scenes they name: no others need be prepared.

Found before anything runs, and without a benchmark's loader, so that neither prompts nor loaders
are part of what prepared scenes depend on.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from threedrs_components.benchmarks.annotation_files import AnnotationFolder
from threedrs_components.benchmarks.annotations import bare_scene
from threedrs_components.benchmarks.config import BenchmarksConfig
from threedrs_components.record_files import read_table
from threedrs_components.scenes.registry import ScenesConfig
from threedrs_platform.errors import DataError

KEYS = ("scene_id", "scene", "scene_name", "video")
"""Under which the records of annotation files name their scene."""
_NAMED = re.compile(rb'"(?:%s)"\s*:\s*"([^"\\]+)"' % "|".join(KEYS).encode())
TRAINED_ON = "train"


class Annotated(Protocol):
    """The sections that decide which annotation files are read: an experiment has them."""

    @property
    def scenes(self) -> ScenesConfig:
        """What is annotated."""

    @property
    def benchmarks(self) -> BenchmarksConfig:
        """Whose annotations."""


def annotated_scenes(experiment: Annotated) -> tuple[str, ...] | None:
    """Scene ids, sorted, of the splits that are trained on and evaluated.

    None is all scenes: they are all annotated, or the annotations are not here or name none.
    """
    if not experiment.scenes.mostly_unannotated:
        return None
    found: set[str] = set()
    for path in record_files(experiment):
        try:
            status = path.stat()
            named = scenes_named_in(path, (status.st_mtime_ns, status.st_size))
        except (OSError, DataError):  # the step that reads it says what is wrong
            return None
        if not named:
            return None
        found |= set(map(experiment.scenes.scene_of, named))
    return tuple(sorted(found)) or None


def record_files(experiment: Annotated) -> list[Path]:
    """Files outside with the records of the splits that are trained on and evaluated."""
    benchmarks = experiment.benchmarks
    if benchmarks.annotations is None:
        return []
    # Not more of the folder than tells where its files are: boxes stay unread.
    folder = AnnotationFolder(Path(benchmarks.annotations), oracle=True)
    wanted = {(name, TRAINED_ON) for name in benchmarks.trained()}
    wanted |= {(name, benchmarks.split_of(name)) for name in benchmarks.names}
    located = (
        benchmarks.loader(name).locate(folder, split)
        for name, split in wanted
        if name not in experiment.scenes.annotated  # those come with the scenes
    )
    return sorted({path for files in located for path in files.records})


@lru_cache(maxsize=64)
def scenes_named_in(path: Path, stamp: tuple[int, int]) -> frozenset[str]:
    """Scene ids in a file of annotations, without "scannet/"; read again when its stamp differs."""
    del stamp
    if path.suffix == ".parquet":
        rows = read_table(path)
        names = {str(row[key]) for row in rows for key in KEYS if row.get(key)}
    else:
        names = {name.decode(errors="replace") for name in set(_NAMED.findall(path.read_bytes()))}
    return frozenset(map(bare_scene, names))
