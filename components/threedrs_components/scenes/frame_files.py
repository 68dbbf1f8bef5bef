"""Frames of prepared scenes as image files, for programs that read nothing else of ours."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from threedrs_components.scenes.png import write_png
from threedrs_components.scenes.prepared import PreparedScenes
from threedrs_components.scenes.scene_names import one_inside

FRAMES = "frames"
"""Folder of them in whatever is exported."""


def write_frames(
    prepared: PreparedScenes, scene_ids: Iterable[str], out: Path
) -> dict[str, tuple[str, ...]]:
    """Write `frames/<scene>/<nn>.png`: the very pixels that a student sees.

    Args:
        prepared: the scenes.
        scene_ids: which of them.
        out: the exported folder.

    Returns:
        Scene -> names of its frames in order, from `out`.

    Raises:
        SceneError: a scene was not prepared, or cannot be read.
        ValueError: the id of one leads out of its folder.
    """
    written = {}
    for scene_id in sorted(set(scene_ids)):
        images = prepared[scene_id].images.numpy()
        one_inside(out / FRAMES, scene_id).mkdir(parents=True)
        names = []
        for number, image in enumerate(images):
            names.append(f"{FRAMES}/{scene_id}/{number:02d}.png")
            write_png(out / names[-1], image)
        written[scene_id] = tuple(names)
    return written
