"""Every kind of scene source that a grid file may name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, get_args

from pydantic import Field

from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.rgbd_folder import RGBDFolderConfig
from threedrs_components.scenes.scannet import ScanNetConfig
from threedrs_components.scenes.scenezoo import ScenezooConfig
from threedrs_components.scenes.settings import SceneSettings
from threedrs_components.scenes.source import SceneSource
from threedrs_components.scenes.videos.config import VideosConfig
from threedrs_platform.config.registry import Registry

# fmt: off
AnyScenes = (
    MicroWorldConfig
    | RGBDFolderConfig
    | ScanNetConfig
    | VideosConfig
    | ScenezooConfig
)
# fmt: on
ScenesConfig = Annotated[AnyScenes, Field(discriminator="kind")]
SCENES: Registry[SceneSettings] = Registry("scenes", get_args(AnyScenes))


def open_scenes(written: Path, settings: Mapping[str, Any]) -> SceneSource:
    """The scenes behind a scenes artifact, for those who look at finished runs.

    Args:
        written: the artifact.
        settings: `scenes` of the cell's parameters.
    """
    return SCENES.read(settings).reader().open(written)
