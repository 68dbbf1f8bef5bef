"""Scenes of clips under one folder, and of records with images of their own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from threedrs_components.scenes.clip_names import scene_of
from threedrs_components.scenes.frames import uniform_choice
from threedrs_components.scenes.scene_names import inside
from threedrs_components.scenes.splits import ALL, chosen_split
from threedrs_components.scenes.videos.marks import marks_of, paint
from threedrs_components.scenes.videos.reader import (
    VIDEOS,
    colour_scene,
    image_files,
    read_clip,
    read_images,
)
from threedrs_components.scenes.videos.records import EVERY_TURN, TrainingRecord, read_drawn
from threedrs_platform.errors import DataError, SceneError
from threedrs_platform.records import Scene

if TYPE_CHECKING:
    from threedrs_components.scenes.videos.config import VideosConfig

FEWEST, MOST = 4, 8
"""Frames of a video to learn from: half of those there are, within these."""


class Videos:
    """Clips are the split "val", records the split "train"."""

    def __init__(self, config: VideosConfig, drawn: Path) -> None:
        self._config = config
        self._clips = find_clips(Path(config.root), config.datasets)
        self._media: dict[str, Path] = {}
        self._clip_like: set[str] = set()
        self._records: dict[str, TrainingRecord] = {}
        for name, each in config.sets().items():
            every = read_drawn(drawn, name)
            found = {key: record for key, record in every.items() if not record.scene}
            self._records |= found
            self._media |= dict.fromkeys(found, Path(each.media))
            self._clip_like |= found.keys() if name == EVERY_TURN else set()

    def splits(self) -> Sequence[str]:
        """Names of the splits."""
        return sorted({ALL, *self._config.split_names})

    def scenes(self, split: str) -> Sequence[str]:
        """Scene ids of a split, sorted."""
        ids = {"train": list(self._records), "val": list(self._clips)}
        ids[ALL] = [*ids["train"], *ids["val"]]
        return chosen_split(ids, split, "scenes of kind videos")

    def load(self, scene_id: str) -> Scene:
        """Read one scene.

        Raises:
            SceneError: a file is missing, or no image or video.
        """
        if scene_id in self._clips:
            config = self._config
            return read_clip(scene_id, self._clips[scene_id], config.num_frames, config.moments)
        if scene_id not in self._records:
            raise SceneError(scene_id, "is neither a clip nor a record that was drawn")
        record, media = self._records[scene_id], self._media[scene_id]
        if record.video and scene_id in self._clip_like:
            return read_clip(scene_id, inside(media, record.video), self._config.num_frames)
        if record.video:
            return _from_video(scene_id, inside(media, record.video))
        scene = read_images(scene_id, [inside(media, each) for each in record.images])
        if not record.marks:
            return scene
        painted = paint(list(scene.images), marks_of(record.marks, len(record.images)))
        return colour_scene(scene_id, scene.frame_names, np.stack(painted))


def find_clips(root: Path, datasets: Sequence[str] | None) -> dict[str, Path]:
    """Videos and folders of images by scene id.

    Raises:
        DataError: a data set is not there or still packed, a name is no scene's, or is there twice.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder of videos")
    packed = {path.stem for path in root.glob("*.zip")}
    present = {path.name for path in root.iterdir() if path.is_dir() and path.name[0] != "."}
    for name in sorted(packed | set(datasets or ())):
        if name not in present and (datasets is None or name in datasets):
            cure = f"unzip {name}.zip there" if name in packed else "its videos belong there"
            raise DataError(f"{root / name}: no such folder; {cure}")
    clips: dict[str, Path] = {}
    for dataset in sorted(present if datasets is None else datasets):
        for path in sorted((root / dataset).iterdir()):
            if path.name.startswith(".") or not (path.is_dir() or path.suffix.lower() in VIDEOS):
                continue
            try:
                scene_id = scene_of(dataset, path.name if path.is_dir() else path.stem)
            except ValueError as error:
                raise DataError(f"{path}: {error}") from error
            if scene_id in clips:
                raise DataError(f"{path}: scene {scene_id} is also {clips[scene_id]}; drop one")
            clips[scene_id] = path
    if not clips:
        raise DataError(f"{root}: holds no video; expected <data set>/<scene>.mp4")
    return clips


def _from_video(scene_id: str, path: Path) -> Scene:
    """Frames of a video to learn from, as VG-LLM takes them; repeats fall out."""
    if not path.is_dir():
        raise SceneError(scene_id, "no such folder of frames", path)
    files = image_files(path)
    if not files:
        raise SceneError(scene_id, "holds no frame", path)
    wanted = min(max(round(len(files) / 2), FEWEST), MOST)
    return read_images(
        scene_id, [files[at] for at in np.unique(uniform_choice(len(files), wanted))]
    )
