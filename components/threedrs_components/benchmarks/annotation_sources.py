"""Annotation files as people name them: one folder, or several files told by their shape."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from threedrs_components.benchmarks.annotation_files import AnnotationFiles, AnnotationFolder
from threedrs_components.benchmarks.benchmark import Benchmark
from threedrs_components.benchmarks.boxes import ObjectBoxes
from threedrs_components.benchmarks.label_map import read_label_map
from threedrs_components.record_files import read_values
from threedrs_components.scenes.boxes import parse_box_lists
from threedrs_platform.errors import AnnotationError


def find_annotations(
    kind: Benchmark, paths: Sequence[Path], label_map: Path | None, split: str
) -> AnnotationFiles:
    """The files of a benchmark among the given ones.

    Args:
        kind: the benchmark.
        paths: one folder; or annotation files, and maybe one file of boxes by scene.
        label_map: decides unique / multiple.
        split: which split to look for in a folder.

    Raises:
        AnnotationError: a file is unreadable, or more than one holds boxes, or none annotations.
    """
    labels = read_label_map(label_map) if label_map else None
    if len(paths) == 1 and os.path.isdir(paths[0]):  # is_dir fails on a name that is too long
        folder = AnnotationFolder(paths[0], label_map=labels, needs_proposals=False)
        return kind.loader().locate(folder, split)
    parsed: dict[Path, Any] = {}
    objects: ObjectBoxes | None = None
    for path in paths:
        values = read_values(path)
        if not (kind.about_boxes and isinstance(values, dict)):
            parsed[path] = values
        elif objects is not None:
            reason = f"holds boxes, and so does {objects.source}; give one file of boxes"
            raise AnnotationError(path, "-", "file", reason)
        else:
            objects = ObjectBoxes(lists=parse_box_lists(values, path), source=path)
    if not parsed:
        raise AnnotationError(paths[0], "-", "file", "holds boxes only; annotations are missing")
    if len(parsed) > kind.record_files:
        reason = f"is one annotation file too many; {kind.kind} has {kind.record_files}"
        raise AnnotationError(list(parsed)[-1], "-", "file", reason)
    return AnnotationFiles(tuple(parsed), objects, label_map=labels, parsed=parsed)
