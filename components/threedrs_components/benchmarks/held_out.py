"""Annotated training scenes that are kept out of training, to choose settings by.

Whoever chooses settings by the evaluated split has fitted them to it. These scenes are asked as
an evaluation would ask them; their candidates are their own boxes where no proposals exist.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from threedrs_platform.errors import DataError
from threedrs_platform.records import Sample

ANNOTATED = "train"
"""The split whose annotations training reads."""


def held_out_scenes(scene_ids: Sequence[str], share: float) -> frozenset[str]:
    """The last scenes by name: scans of one room, whose names follow each other, stay together.

    Args:
        scene_ids: scenes with annotations for training.
        share: of them to hold out; at least one is held out and one is left.

    Raises:
        DataError: fewer than two scenes.
    """
    ordered = sorted(scene_ids)
    if len(ordered) < 2:
        raise DataError(f"{len(ordered)} annotated training scenes: none can be held out")
    count = min(len(ordered) - 1, max(1, round(share * len(ordered))))
    return frozenset(ordered[-count:])


def held_out_samples(samples: Iterable[Sample], scenes: frozenset[str]) -> list[Sample]:
    """Those of a benchmark's evaluation samples that are in the held-out scenes."""
    return [_pointed_at_truth(sample) for sample in samples if sample.scene_id in scenes]


def _pointed_at_truth(sample: Sample) -> Sample:
    """Where no proposals lie near an object to be described, its own box is pointed at."""
    return replace(sample, box_input=sample.target_boxes[0]) if sample.misses_its_box else sample
