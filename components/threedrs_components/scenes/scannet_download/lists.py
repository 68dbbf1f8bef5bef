"""Files about many scenes that grids read, made from what each converted scene says of itself."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from threedrs_components.scenes.boxes import SCENE_PREFIX
from threedrs_components.scenes.scannet_download.layout import LABELS, SPLITS
from threedrs_components.scenes.scannet_download.scene_record import ConvertedScene, read_record
from threedrs_platform.errors import DataError
from threedrs_platform.storage import write_atomically

POSED_IMAGES = "scannet/posed_images"
REPORT = "scannet/preparation.json"


def converted_scenes(data: Path) -> list[ConvertedScene]:
    """Every finished scene under DATA, by name."""
    root = data / POSED_IMAGES
    folders = sorted(p for p in root.iterdir() if not p.name.startswith("."))
    return [scene for scene in map(read_record, folders) if scene is not None]


def list_files(scenes: Sequence[ConvertedScene], label_table: Path | None) -> dict[str, bytes]:
    """Content of each file about many scenes, by its path under DATA."""
    files = {}
    if label_table is not None:
        files[f"metadata/{LABELS}"] = label_table.read_bytes()
    annotated = [scene for scene in scenes if scene.boxes or scene.split != "test"]
    files["metadata/scannet_gt_box.json"] = _boxes(annotated)
    for split in SPLITS:
        those = [scene for scene in scenes if scene.split == split]
        if not those:
            continue
        infos = {"data_list": [_entry(scene) for scene in those]}
        files[infos_file(split)] = pickle.dumps(infos, protocol=4)
        if split != "test":
            files[f"metadata/scannet_{split}_gt_box.json"] = _boxes(those)
        if any(scene.proposals is not None for scene in those):
            proposals = {
                SCENE_PREFIX + each.scene: each.proposals
                for each in those
                if each.proposals is not None
            }
            files[f"metadata/scannet_{split}_pred_box.json"] = _json(proposals)
    return files


def list_names(splits: Iterable[str], with_proposals: bool) -> list[str]:
    """Which files there will be about scenes of some splits, besides the label table."""
    names = ["metadata/scannet_gt_box.json"]
    for split in splits:
        names += [infos_file(split)]
        names += [f"metadata/scannet_{split}_gt_box.json"] if split != "test" else []
        names += [f"metadata/scannet_{split}_pred_box.json"] if with_proposals else []
    return names


def infos_file(split: str) -> str:
    """Where the presets look for a split's list of frames, under DATA."""
    return f"embodiedscan/embodiedscan_infos_{split}.pkl"


def _boxes(scenes: Iterable[ConvertedScene]) -> bytes:
    """As released, a list per scene, position = id; by id where objects have vanished."""
    content: dict[str, Any] = {}
    for scene in scenes:
        is_whole = list(scene.boxes) == [str(index) for index in range(len(scene.boxes))]
        boxes = list(scene.boxes.values()) if is_whole else scene.boxes
        content[SCENE_PREFIX + scene.scene] = boxes
    return _json(content)


def _entry(scene: ConvertedScene) -> dict[str, Any]:
    folder = f"{POSED_IMAGES}/{scene.scene}"
    return {
        "sample_idx": SCENE_PREFIX + scene.scene,
        "images": [{"img_path": f"{folder}/{name}.jpg"} for name in scene.listed],
        "axis_align_matrix": scene.axis_alignment,
        "depth_cam2img": [[*row, 0.0] for row in scene.depth_intrinsics] + [[0.0, 0.0, 0.0, 1.0]],
    }


def _json(content: Any) -> bytes:
    return (json.dumps(content) + "\n").encode()


class WrittenFiles:
    """The files about many scenes as they lie in DATA; none is overwritten that others wrote."""

    def __init__(self, data: Path, given: Iterable[Path] = ()) -> None:
        """Look at what lies there.

        Args:
            data: the folder DATA.
            given: input files; one that lies where a list would go is left as it is.
        """
        self.data = data
        self._given = {path.resolve() for path in given}
        try:
            self._known = dict(json.loads((data / REPORT).read_bytes())["files"])
        except (OSError, ValueError, KeyError, TypeError):
            self._known = {}

    def check(self, names: Iterable[str]) -> None:
        """Refuse to replace a file of somebody else.

        Raises:
            DataError: names the file.
        """
        for name in names:
            path = self.data / name
            if self._is_given(name) or not path.is_file():
                continue
            if _digest(path.read_bytes()) not in self._known.get(name, ()):
                raise DataError(
                    f"{path}: was not written by `workflows prepare scannet`, which would replace "
                    "it; move it away, or choose another --out"
                )

    def write(self, files: Mapping[str, bytes], report: Mapping[str, Any]) -> list[str]:
        """Write the report, which knows all digests first, then the files; returns their names."""
        files = {name: content for name, content in files.items() if not self._is_given(name)}
        self.check(files)
        known = {name: [_digest(content), *self._there(name)] for name, content in files.items()}
        content = {**report, "files": {**self._known, **known}}
        write_atomically(self.data / REPORT, (json.dumps(content, indent=1) + "\n").encode())
        for name, each in files.items():
            write_atomically(self.data / name, each)
        return sorted(files)

    def _there(self, name: str) -> list[str]:
        """Digest of what lies there, which stays there if we are killed before it is replaced."""
        path = self.data / name
        return [_digest(path.read_bytes())] if path.is_file() else []

    def _is_given(self, name: str) -> bool:
        return (self.data / name).resolve() in self._given


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
