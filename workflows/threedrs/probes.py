"""How alike a model's features of one place are across views, as a pandas table."""

from __future__ import annotations

import logging
from os import PathLike, fspath
from pathlib import Path
from typing import Literal

import pandas as pd

from threedrs_components.scenes.frames import MILLIMETRES
from threedrs_components.scenes.rgbd_folder import MIN_FRAMES
from threedrs_components.students.places import Place
from threedrs_workflows.folders.probing import ProbeRequest, probe_scenes

_logger = logging.getLogger(__name__)


def probe(
    scenes: str | PathLike[str],
    model: str = "rgb",
    checkpoint: str | PathLike[str] | None = None,
    *,
    layer: Place = -1,
    level: Literal["pixel", "token"] = "pixel",
    grid: int | None = None,
    voxel_m: float = 0.1,
    frames: int = 32,
    on_bad_scene: Literal["refuse", "skip"] = "refuse",
    min_frames: int = MIN_FRAMES,
    depth_scale: float = MILLIMETRES,
) -> pd.DataFrame:
    """Correspondence scores of a model, one row per scene, as `workflows probe` prints them.

    Columns: scene, score, margin, standardised (cosines; NaN over no pairs), counts of pairs,
    voxels, frames and tokens, and seconds.

    Args:
        scenes: a folder of posed RGB-D frames, or a folder of such folders.
        model: "rgb" (mean colour, no weights), or the kind of a teacher or a student.
        checkpoint: weights of it.
        layer: hidden layer; -1 is the last. Of a student also "tower" or "projector".
        level: match every pixel, or each token at its mean coordinate.
        grid: token rows and columns per frame; None is 14, or the model's own if coarser.
        voxel_m: edge of the voxels, metres.
        frames: per scene.
        on_bad_scene: stop at an unusable one, or leave it out.
        min_frames: frames that must be left of a scene that lost some.
        depth_scale: units of whole-number depth images per metre.

    Raises:
        ConfigError: no such model, or arguments that it cannot have.
        DataError: no scene is usable, or one is not and bad scenes are refused.
    """
    request = ProbeRequest(
        scenes=Path(scenes),
        model=model,
        checkpoint=None if checkpoint is None else fspath(checkpoint),
        layer=layer,
        level=level,
        grid=grid,
        voxel_m=voxel_m,
        frames=frames,
        on_bad_scene=on_bad_scene,
        min_frames=min_frames,
        depth_scale=depth_scale,
        picture=None,
    )
    outcome = probe_scenes(request, _logger.info)
    rows = [
        {"scene": each.scene, **vars(each.score), "seconds": each.seconds}
        for each in outcome.probes
    ]
    return pd.DataFrame(rows)
