"""A folder that stands for a source of scenes: a written world, or a pointer to data elsewhere."""

from __future__ import annotations

from pathlib import Path

from pydantic import TypeAdapter

from threedrs_components.scenes import MicroWorldConfig, ScenesConfig
from threedrs_components.scenes.rgbd_folder import RGBDFolder, RGBDFolderConfig
from threedrs_components.scenes.scannet import ScanNetConfig
from threedrs_platform.contracts import SceneSource

POINTER = "source.json"


def write_pointer(config: RGBDFolderConfig | ScanNetConfig, folder: Path) -> None:
    """Make `folder` stand for scenes that stay where they are."""
    (folder / POINTER).write_text(config.model_dump_json())


def open_scenes(folder: Path) -> SceneSource:
    """Open what `write_pointer` or the micro world's writer left in `folder`."""
    pointer = folder / POINTER
    if not pointer.is_file():
        return RGBDFolder(folder)
    config = TypeAdapter[ScenesConfig](ScenesConfig).validate_json(pointer.read_text())
    assert not isinstance(config, MicroWorldConfig), "a micro world is written, never pointed at"
    return config.build()
