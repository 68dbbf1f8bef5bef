"""A small source of scenes of every kind, for tests and trials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.scene import make_scene
from threedrs_components.scenes.registry import SCENES
from threedrs_components.scenes.settings import SceneSettings
from threedrs_components.testing.scannet_files import write_scannet
from threedrs_components.testing.vsi_files import write_vsi
from threedrs_components.testing.zoo_downloads import Film, write_arkitscenes

WORLD = MicroWorldConfig(train=6, text=2, val=2, num_frames=3, teacher_scenes=1)


def tiny_scenes(kind: str, folder: Path) -> SceneSettings:
    """Settings of a kind for data that this function writes under an empty folder.

    Raises:
        KeyError: nobody has said how data of this kind are written; add it to `WRITERS`.
    """
    return SCENES.read({"kind": kind, **WRITERS[kind](folder)})


def write_world(folder: Path) -> None:
    """A rendered world of a few scenes."""
    folder.mkdir(parents=True, exist_ok=True)
    WORLD.write(folder, "student", lambda *_: None)


def _micro(_folder: Path) -> dict[str, Any]:
    return WORLD.canonical()


def _rgbd_folder(folder: Path) -> dict[str, Any]:
    write_world(folder / "world")
    return {"root": str(folder / "world"), "num_frames": 2}


def _scannet(folder: Path) -> dict[str, Any]:
    write_world(folder / "world")
    write_scannet(folder / "world", folder)
    lists = folder / "embodiedscan"
    return {
        "posed_images": str(folder / "scannet/posed_images"),
        "frame_lists": {
            split: str(lists / f"embodiedscan_infos_{split}.json") for split in ("train", "val")
        },
        "boxes": [str(folder / "metadata/scannet_gt_box.json")],
        "num_frames": 2,
    }


def _videos(folder: Path) -> dict[str, Any]:
    write_vsi(folder)
    media, train = str(folder / "vg_llm/media"), folder / "vg_llm/train"
    return {
        "root": str(folder / "vsibench"),
        "spar": {"records": str(train / "spar_7m.jsonl"), "media": media, "share": 0.03},
        "llava_hound": {"records": str(train / "llava_hound_255k.json"), "media": media},
        "num_frames": 3,
    }


def _scenezoo(folder: Path) -> dict[str, Any]:
    lists: dict[str, str] = {}
    for split, fold in (("train", "Training"), ("val", "Validation")):
        rooms = [make_scene(WORLD, split, index) for index in range(getattr(WORLD, split))]
        for room in rooms:
            write_arkitscenes(Film.of(room), folder, room.scene_id, fold=fold)
        lists[split] = str(folder / f"{split}.txt")
        Path(lists[split]).write_text("\n".join(room.scene_id for room in rooms))
    return {
        "dataset": "arkitscenes",
        "root": str(folder),
        "split_files": lists,
        "num_frames": 2,
        "min_frames": 2,
    }


WRITERS: Mapping[str, Callable[[Path], dict[str, Any]]] = {
    "micro": _micro,
    "rgbd_folder": _rgbd_folder,
    "scannet": _scannet,
    "videos": _videos,
    "scenezoo": _scenezoo,
}
"""By kind: writes data, and says the settings that lead to them."""
