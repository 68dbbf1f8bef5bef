"""Scenes to evaluate on, of every kind that a grid knows: a folder, or a grid's own `scenes`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threedrs_components.scenes.boxes import read_candidates
from threedrs_components.scenes.registry import SCENES
from threedrs_components.scenes.rgbd_folder import RGBDFolderConfig
from threedrs_components.scenes.scannet import ScanNetConfig
from threedrs_components.scenes.scannet_download.layout import (
    FOLDERS,
    SPLITS,
    Download,
    read_splits,
)
from threedrs_components.scenes.scannet_download.lists import POSED_IMAGES, infos_file
from threedrs_components.scenes.scene_folders import scene_folders
from threedrs_components.scenes.settings import PROPOSALS, SceneSettings
from threedrs_components.scenes.source import SceneSource
from threedrs_components.scenes.videos.config import VideosConfig
from threedrs_components.scenes.videos.reader import holds_videos
from threedrs_platform.config.strict_yaml import load_document
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.records import Float32
from threedrs_workflows.folders.scannet_download import DownloadRequest, convert_download

Report = Callable[[str], None]
SECTION = "scenes"


@dataclass(frozen=True)
class World:
    """Scenes that are open, with what lies beside them."""

    settings: SceneSettings
    source: SceneSource
    folder: Path
    """What the step `scenes` of a grid would have left: splits, proposals, drawn records."""

    @property
    def proposals(self) -> dict[str, Float32]:
        """Candidate boxes by scene, maybe none."""
        return read_candidates(*sorted((self.folder / PROPOSALS).glob("*.json")))

    @property
    def place(self) -> str:
        """Where the scenes lie, for messages."""
        return ", ".join(self.settings.data().values()) or str(self.folder)


def open_world(settings: SceneSettings, empty: Path) -> World:
    """Open scenes as a grid does.

    Args:
        settings: of any kind.
        empty: a folder that has all of it written that the scenes do not hold themselves; it has to
            stay as long as the world is used.

    Raises:
        DataError: the scenes are not where the settings say.
    """
    if isinstance(settings, RGBDFolderConfig):  # what a grid would write may lie there already
        return World(settings, settings.open(empty), Path(settings.root))
    settings.write(empty, "student", lambda done, total, note: None)
    return World(settings, settings.reader().open(empty), empty)


def settings_of(
    given: str, *, num_frames: int, min_frames: int | None, depth_scale: float | None
) -> SceneSettings | Path:
    """What a person names as scenes; the path of a ScanNet download, which has to be converted.

    Args:
        given: a folder, `scenes` of a grid as a YAML mapping, or a file with them.
        num_frames: that a student sees of a video.
        min_frames: of a folder of posed RGB-D frames, as `RGBDFolderConfig`; None is its default.
        depth_scale: of such a folder; None is its default.

    Raises:
        ConfigError: there is no such folder or kind, or a setting is wrong or of no effect.
    """
    limits = {"min_frames": min_frames, "depth_scale": depth_scale}
    wanted = {name: each for name, each in limits.items() if each is not None}
    found = _named(given, num_frames, wanted)
    if not isinstance(found, RGBDFolderConfig) or is_written(given):
        refuse_limits(wanted, given)
    return found


def refuse_limits(limits: Collection[str], scenes: str) -> None:
    """Refuse what is of folders of posed RGB-D frames alone, and was given for other scenes.

    Raises:
        ConfigError: names each of them.
    """
    flags = [f"--{name.replace('_', '-')}" for name in limits]
    if flags:
        raise ConfigError(
            [
                Fault(
                    f"is of folders of posed RGB-D frames, and {scenes} is none; leave it out", at
                )
                for at in flags
            ]
        )


def is_written(given: str) -> bool:
    """Whether scenes are named as a grid names them: a YAML mapping, or a file with one."""
    return given.lstrip().startswith("{") or Path(given).suffix.lower() in (".yaml", ".yml")


def _named(given: str, num_frames: int, limits: Mapping[str, Any]) -> SceneSettings | Path:
    path = Path(given)
    if is_written(given):
        written = given if given.lstrip().startswith("{") else path
        data: dict[str, Any] = load_document(written, "" if written is path else "--scenes").data
        return SCENES.read(data.get(SECTION, data))
    if not path.is_dir():
        raise ConfigError([Fault(f"no folder {given!r}", "--scenes")])
    if (path / POSED_IMAGES).is_dir():
        return converted(path)
    if any((path / name).is_dir() for name in FOLDERS[:2]) and Download(path).scenes():
        return path
    if not scene_folders(path) and holds_videos(path, None):
        return VideosConfig(root=given, num_frames=num_frames)
    return RGBDFolderConfig(root=given, **limits)


def converted(data: Path) -> ScanNetConfig:
    """What `workflows prepare scannet` has left in a folder, as the presets read it."""
    lists = {split: data / infos_file(split) for split in SPLITS}
    boxes = data / "metadata" / "scannet_gt_box.json"
    proposed = [data / "metadata" / f"scannet_{split}_pred_box.json" for split in SPLITS]
    return ScanNetConfig(
        posed_images=str(data / POSED_IMAGES),
        frame_lists={split: str(file) for split, file in lists.items() if file.is_file()},
        boxes=(str(boxes),) if boxes.is_file() else (),
        proposals=tuple(str(file) for file in proposed if file.is_file()),
    )


def convert_scans(root: Path, split: str, out: Path, report: Report) -> ScanNetConfig:
    """The scans of a split of a ScanNet download, with the streams unpacked below `out`.

    What was unpacked before is kept.

    Raises:
        DataError: no scene of the split is usable.
    """
    download = Download(root)
    splits = read_splits(download.split_files())
    there = [each for each in download.scenes() if splits.get(each, split) == split]
    report(f"{len(there)} scans of a ScanNet download are unpacked into {out}")
    request = DownloadRequest(root, out, scenes=tuple(there) or None)
    outcome = convert_download(
        request, lambda done, total, each: report(f"{done}/{total} {each.scene_id}")
    )
    for scene_id, reason in outcome.bad.items():
        report(f"left out: {scene_id}: {reason}")
    return converted(out)
