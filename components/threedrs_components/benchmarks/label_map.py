"""ScanNet's label table: from an annotator's object name to the classes that decide "unique"."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from threedrs_components.benchmarks.annotations import Record, parse_records
from threedrs_components.json_files import read_json
from threedrs_platform.errors import AnnotationError

OTHERS = "others"
SCANNET_CLASSES = frozenset(
    (
        *("cabinet", "bed", "chair", "sofa", "table", "door", "window", "bookshelf", "picture"),
        *("counter", "desk", "curtain", "refrigerator", "shower curtain", "toilet", "sink"),
        "bathtub",
    )
)
"""The 17 classes of ScanRefer's own evaluation; everything else is "others"."""
NYU40_IDS = frozenset({*range(1, 13), 14, 16, 24, 28, 33, 34, 36, 39})
"""The 20 classes of M3DRef-CLIP and 3DRS (wall and floor among them); everything else is 39."""
OTHER_FURNITURE = 39


class _Row(Record):
    raw_category: str
    nyu40id: int
    nyu40class: str


@dataclass(frozen=True)
class LabelMap:
    """nyu40 id and class name of each raw category."""

    nyu40: Mapping[str, tuple[int, str]]

    def knows(self, object_name: str) -> bool:
        """Whether the table has this name; the evaluators count all other names as "others"."""
        return object_name.replace("_", " ") in self.nyu40

    def official_class(self, object_name: str) -> str:
        """Class after the ScanRefer evaluation: one of 17, or "others"."""
        _, name = self.nyu40.get(object_name.replace("_", " "), (0, OTHERS))
        return name if name in SCANNET_CLASSES else OTHERS

    def nyu40_class(self, object_name: str) -> str:
        """Class after M3DRef-CLIP and 3DRS: an nyu40 id out of 20, as text."""
        number, _ = self.nyu40.get(object_name.replace("_", " "), (OTHER_FURNITURE, ""))
        return str(number if number in NYU40_IDS else OTHER_FURNITURE)


def read_label_map(path: Path) -> LabelMap:
    """Read `scannetv2-labels.combined.tsv`, or its rows as a JSON list.

    Raises:
        AnnotationError: unreadable, or a row lacks raw_category, nyu40id or nyu40class.
    """
    if path.suffix == ".json":
        values = read_json(path)
    else:
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                values = list(csv.DictReader(file, delimiter="\t"))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise AnnotationError(path, "-", "file", f"cannot be read: {error}") from error
    rows = parse_records(values, _Row, path)
    return LabelMap({row.raw_category: (row.nyu40id, row.nyu40class) for row in rows})


def unique_or_multiple(
    described: Sequence[tuple[str, str, str]], class_of: Callable[[str], str]
) -> list[str]:
    """ "unique" or "multiple" for each description.

    An object is unique if no other object that somebody described has its class in its scene.

    Args:
        described: scene id, object id and object name of each description.
        class_of: object name to class.
    """
    members: dict[tuple[str, str], set[str]] = defaultdict(set)
    for scene, object_id, name in described:
        members[scene, class_of(name)].add(object_id)
    return [
        "unique" if len(members[scene, class_of(name)]) == 1 else "multiple"
        for scene, _, name in described
    ]
