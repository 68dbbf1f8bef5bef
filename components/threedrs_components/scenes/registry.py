"""Where frames come from, and their geometry. The union below is the registry of sources."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.rgbd_folder import RGBDFolderConfig
from threedrs_components.scenes.scannet import ScanNetConfig

AnyScenes = MicroWorldConfig | RGBDFolderConfig | ScanNetConfig
ScenesConfig = Annotated[AnyScenes, Field(discriminator="kind")]

__all__ = ["AnyScenes", "MicroWorldConfig", "RGBDFolderConfig", "ScanNetConfig", "ScenesConfig"]
