"""What a clip of one of several data sets is called as a scene: no two of them share a name."""

from __future__ import annotations

from threedrs_components.scenes.scene_names import RULE, is_name

SCANNET = "scannet"
"""Its scenes keep their names, so that posed frames of ScanNet answer for its clips, too."""


def scene_of(dataset: str, name: str) -> str:
    """Scene id of a clip: `scene0011_00` of ScanNet, `arkitscenes.41069025` of any other.

    Raises:
        ValueError: a name that is no file's name, or leads out of its folder.
    """
    for what in (dataset, name):
        if not is_name(what):
            raise ValueError(f"{what!r} is no name of a data set or scene: {RULE}")
    return name if dataset == SCANNET else f"{dataset}.{name}"
