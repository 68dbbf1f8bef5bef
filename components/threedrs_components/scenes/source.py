"""A folder that stands for a source of scenes: a written world, or a pointer to data elsewhere."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter

from threedrs_components.scenes.boxes import read_box_lists, write_box_lists
from threedrs_components.scenes.registry import MicroWorldConfig, ScenesConfig
from threedrs_components.scenes.rgbd_folder import RGBDFolder, RGBDFolderConfig
from threedrs_components.scenes.scannet import ScanNetConfig
from threedrs_platform.contracts import SceneSource

POINTER = "source.json"
PROPOSALS = "proposals"
"""Folder of candidate boxes, in a written world and beside a pointer."""


def write_pointer(config: RGBDFolderConfig | ScanNetConfig, folder: Path) -> None:
    """Make `folder` stand for scenes that stay where they are; proposals are copied into it."""
    (folder / POINTER).write_text(config.model_dump_json())
    for path in map(Path, config.proposals if isinstance(config, ScanNetConfig) else ()):
        (folder / PROPOSALS).mkdir(exist_ok=True)
        write_box_lists(folder / PROPOSALS / f"{path.stem}.json", read_box_lists(path))


def open_scenes(folder: Path) -> SceneSource:
    """Open what `write_pointer` or the micro world's writer left in `folder`."""
    pointer = folder / POINTER
    if not pointer.is_file():
        return RGBDFolder(folder)
    config = TypeAdapter[ScenesConfig](ScenesConfig).validate_json(pointer.read_text())
    assert not isinstance(config, MicroWorldConfig), "a micro world is written, never pointed at"
    return config.build()
