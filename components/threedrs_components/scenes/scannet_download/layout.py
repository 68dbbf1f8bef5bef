"""Which files of a ScanNet download belong to which scene and split."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from threedrs_components.scenes.scene_names import is_scene_id
from threedrs_platform.errors import DataError, SceneError

SPLITS = ("train", "val", "test")
LABELS = "scannetv2-labels.combined.tsv"
MESH, SEGMENTS = "_vh_clean_2.ply", "_vh_clean_2.0.010000.segs.json"
GROUPS = (".aggregation.json", "_vh_clean.aggregation.json")
FOLDERS = ("scans", "scans_test", "")


@dataclass(frozen=True)
class SceneFiles:
    """The files of one scene of a download; they need not exist."""

    scene_id: str
    folder: Path
    is_test: bool

    @property
    def stream(self) -> Path:
        """Colour, depth and poses."""
        return self._named(".sens")

    @property
    def mesh(self) -> Path:
        """Vertices."""
        return self._named(MESH)

    @property
    def segments(self) -> Path:
        """Segment of each vertex."""
        return self._named(SEGMENTS)

    @property
    def groups(self) -> Path:
        """Objects as groups of segments."""
        found = (self._named(ending) for ending in GROUPS)
        return next((path for path in found if path.is_file()), self._named(GROUPS[0]))

    @property
    def alignment(self) -> Path:
        """Axis alignment, and what else is known of the scan."""
        return self._named(".txt")

    def by_role(self) -> dict[str, Path]:
        """Every input."""
        roles = ("stream", "mesh", "segments", "groups", "alignment")
        return {role: getattr(self, role) for role in roles}

    def _named(self, ending: str) -> Path:
        return self.folder / (self.scene_id + ending)


class Download:
    """A folder of ScanNet as its download script leaves it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        if not any((root / name).is_dir() for name in FOLDERS[:2]) and not self.scenes():
            raise DataError(
                f"{root}: no ScanNet download; scans/<scene>/<scene>.sens was expected under it"
            )

    def scenes(self) -> list[str]:
        """Scenes that have a folder with a stream or a mesh, sorted."""
        found = {
            folder.name
            for name in FOLDERS
            if (self.root / name).is_dir()
            for folder in (self.root / name).iterdir()
            if is_scene_id(folder.name)
            and any((folder / (folder.name + ending)).is_file() for ending in (".sens", MESH))
        }
        return sorted(found)

    def files(self, scene_id: str) -> SceneFiles:
        """The files of a scene.

        Raises:
            SceneError: its name would climb out of the download, or it has no folder.
        """
        if not is_scene_id(scene_id):
            raise SceneError(scene_id, "is no name of a scene, which is one folder's")
        for name in FOLDERS:
            folder = self.root / name / scene_id
            if folder.is_dir():
                return SceneFiles(scene_id, folder, name == "scans_test")
        raise SceneError(scene_id, "has no folder in the download", self.root / FOLDERS[0])

    def label_table(self) -> Path | None:
        """The table of labels, wherever it lies; scenes are not searched."""
        return self._beside(LABELS)

    def split_files(self) -> list[Path]:
        """The lists scannetv2_{train,val,test}.txt that are there."""
        found = (self._beside(f"scannetv2_{split}.txt") for split in SPLITS)
        return [path for path in found if path]

    def _beside(self, name: str) -> Path | None:
        """A file of the root, or of any folder under it that holds no scenes."""
        if (self.root / name).is_file():
            return self.root / name
        folders = (p for p in sorted(self.root.iterdir()) if p.is_dir() and p.name not in FOLDERS)
        found = (path for folder in folders for path in _found(folder, name))
        return next(found, None)


def _found(folder: Path, name: str, depth: int = 3) -> Sequence[Path]:
    """Files of a name under a folder; folders of scenes are not opened."""
    if (folder / name).is_file():
        return [folder / name]
    if depth == 0 or SCENE_LIKE.match(folder.name):
        return []
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir()]
    return [path for each in inner for path in _found(each, name, depth - 1)]


SCENE_LIKE = re.compile(r"scene\d{4}_\d{2}")


def read_splits(paths: Sequence[Path]) -> dict[str, str]:
    """Split of each scene, from lists whose names tell which split they are of.

    Raises:
        DataError: a list that cannot be read, that names no split, or a scene in two splits.
    """
    split_of: dict[str, str] = {}
    for path in paths:
        split = split_named(path)
        try:
            scenes = path.read_text().split()
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read: {error}") from error
        for scene in scenes:
            if split_of.setdefault(scene, split) != split:
                raise DataError(f"{path}: {scene} is in the split {split_of[scene]}, too")
    return split_of


def split_named(path: Path) -> str:
    """The split that a list is of, by its name.

    Raises:
        DataError: its name ends in no split.
    """
    for split in SPLITS:
        if re.search(rf"(^|_){split}$", path.stem):
            return split
    raise DataError(f"{path}: its name must end in _train, _val or _test")
