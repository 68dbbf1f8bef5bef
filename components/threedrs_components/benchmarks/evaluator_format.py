"""What a prediction file holds, and what a format of the field's evaluators is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threedrs_components.benchmarks.annotations import Record, scene_inside
from threedrs_components.benchmarks.tally import Unread
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Prediction, Sample


@dataclass(frozen=True)
class PredictionFile:
    """What a prediction file holds."""

    format: str
    predictions: list[Prediction]
    samples: list[Sample] | None = None
    """The annotated samples, where the format carries its own truth."""
    tags: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """What the file says about samples, by prediction id."""
    truths: Mapping[str, str] = field(default_factory=dict)
    """What the file believes to be the answer, by prediction id."""
    warnings: tuple[str, ...] = ()
    unread: tuple[Unread, ...] = ()
    """What of the file could not be read as what is asked for."""
    by_rows: bool = False
    """Whether several predictions may be about one sample, see `Scorer.evaluate_rows`."""


@dataclass(frozen=True)
class EvaluatorFormat:
    """Prediction files that an evaluator of the field reads or writes."""

    name: str
    record: type[Record]
    """One prediction of such a file; files are told by the keys it needs."""
    read: Callable[[Any, Path, str], PredictionFile]
    """Predictions from the JSON values of a file, its path, and the kind of the benchmark.

    Raises:
        AnnotationError: names file, record and field of what is wrong.
    """
    by_scene: bool = False
    """Whether records may stand in lists by scene: {scene: [record, ..]}."""

    def likeness(self, keys: Mapping[str, Any]) -> float:
        """Share of the keys needed here that a record has, 0 to 1."""
        needed = [
            each.alias or name
            for name, each in self.record.model_fields.items()
            if each.is_required()
        ]
        return sum(name in keys for name in needed) / len(needed)


def by_scene(values: Any, path: Path) -> list[tuple[str, Any]]:
    """Scene names with their records; scenes without any are left out.

    Raises:
        AnnotationError: the values are not by scene, or a scene leads out of its folder.
    """
    if not isinstance(values, dict):
        reason = f"holds a {type(values).__name__}, an object {{scene: list}} is expected"
        raise AnnotationError(path, "-", "file", reason)
    try:
        return [(scene_inside(scene), items) for scene, items in values.items() if items != []]
    except ValueError as error:
        raise AnnotationError(path, "-", "scene", str(error)) from error
