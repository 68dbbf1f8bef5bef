"""What a clip of one of several data sets is called as a scene: no two of them share a name."""

from __future__ import annotations

import re

SCANNET = "scannet"
"""Its scenes keep their names, so that posed frames of ScanNet answer for its clips, too."""
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")


def scene_of(dataset: str, name: str) -> str:
    """Scene id of a clip: `scene0011_00` of ScanNet, `arkitscenes.41069025` of any other.

    Raises:
        ValueError: a name that is no file's name, or leads out of its folder.
    """
    for what in (dataset, name):
        if not _SAFE.fullmatch(what):
            raise ValueError(
                f"{what!r} is no name of a data set or scene: letters, digits, _ and -"
            )
    return name if dataset == SCANNET else f"{dataset}.{name}"


def dataset_of(scene_id: str) -> str:
    """The data set in a scene id."""
    dataset, dot, _ = scene_id.partition(".")
    return dataset if dot else SCANNET
