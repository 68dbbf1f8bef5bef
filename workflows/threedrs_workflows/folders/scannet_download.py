"""Convert a ScanNet download for the grids: the work behind `workflows prepare scannet`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from threedrs_components.benchmarks.label_map import read_label_map
from threedrs_components.scenes.embodiedscan import FrameList, read_frame_lists
from threedrs_components.scenes.scannet_download.convert import convert_scene
from threedrs_components.scenes.scannet_download.layout import (
    LABELS,
    Download,
    read_splits,
    split_named,
)
from threedrs_components.scenes.scannet_download.lists import (
    POSED_IMAGES,
    REPORT,
    WrittenFiles,
    converted_scenes,
    list_files,
    list_names,
)
from threedrs_components.scenes.scannet_download.masks import find_masks
from threedrs_components.scenes.scannet_download.scene_record import (
    ConversionConfig,
    ConvertedScene,
    SceneJob,
    finished,
)
from threedrs_platform.compute.ray_tasks import RayCompute
from threedrs_platform.errors import ConflictError, DataError, SceneError, StorageError
from threedrs_platform.processes import spread
from threedrs_platform.storage import storage_errors


@dataclass(frozen=True)
class DownloadRequest:
    """What is to be converted, and how."""

    root: Path
    """The download."""
    data: Path
    """DATA of the grids' presets."""
    scenes: tuple[str, ...] | None = None
    """None: all that are downloaded and, where EmbodiedScan infos are given, in these."""
    splits: tuple[Path, ...] = ()
    """Lists of scenes; those of the download if none are given."""
    infos: tuple[Path, ...] = ()
    """EmbodiedScan's lists of frames; without any, frames with a pose are listed."""
    proposals: Path | None = None
    """Folder of masks; `mask` of the download if it has one."""
    config: ConversionConfig = field(default_factory=ConversionConfig)
    workers: int = 1
    ray: str | None = None
    """Address of a cluster, or "local"; None: processes of this machine."""
    stop_at_bad_scene: bool = False


@dataclass(frozen=True)
class Outcome:
    """One scene as it came out: what it holds, or why it is unusable."""

    scene_id: str
    scene: ConvertedScene | None = None
    reason: str = ""


@dataclass(frozen=True)
class Conversion:
    """What came of a download."""

    made: tuple[ConvertedScene, ...]
    kept: tuple[ConvertedScene, ...]
    """Finished before."""
    others: int
    """Scenes in DATA that this call was not about; its lists hold these too."""
    foreign: int
    """Those of them that were made with other settings."""
    bad: dict[str, str]
    absent: int
    """Scenes of the split lists that are not downloaded."""
    has_labels: bool
    """Whether a label table was found."""
    files: tuple[str, ...] = ()
    """Written under DATA."""


Progress = Callable[[int, int, Outcome], None]


def convert_download(request: DownloadRequest, progress: Progress) -> Conversion:
    """Convert every wanted scene, then write the files about all scenes that DATA holds.

    Raises:
        DataError: the download or a list is unusable, no scene is usable, a file of somebody
            else lies where a list would go; or a scene is bad and was to stop the work.
        ConflictError: another process converts into the same folder.
        StorageError: the output cannot be written.
    """
    plan = _Plan(request)
    written = WrittenFiles(request.data, request.infos)
    with _alone(request.data):
        jobs, bad = plan.jobs()
        written.check(list_names({job.split for job in jobs}, plan.masks is not None))
        kept = [scene for scene in map(finished, jobs) if scene is not None]
        made = _convert(request, jobs, kept, bad, progress)
        if bad and request.stop_at_bad_scene:
            raise DataError(": ".join(next(iter(bad.items()))))
        everything = converted_scenes(request.data)
        ours = {job.files.scene_id for job in jobs}
        others = [scene for scene in everything if scene.scene not in ours]
        for name in bad.keys() & {scene.scene for scene in everything}:
            bad[name] += "; lists hold it as it was made before"
        config = request.config.canonical()
        result = Conversion(
            made=tuple(made),
            kept=tuple(kept),
            others=len(others),
            foreign=sum(scene.config != config for scene in others),
            bad=dict(sorted(bad.items())),
            absent=plan.absent,
            has_labels=plan.labels is not None,
        )
        files = list_files(everything, plan.table_to_copy) if everything else {}
        names = written.write(files, _report(request, result, everything))
    if not made and not kept:
        scene, reason = next(iter(result.bad.items()))
        raise DataError(f"{request.root}: no scene is usable; the first, {scene}: {reason}")
    return replace(result, files=tuple(names))


def _convert(
    request: DownloadRequest,
    jobs: Sequence[SceneJob],
    kept: Sequence[ConvertedScene],
    bad: dict[str, str],
    progress: Progress,
) -> list[ConvertedScene]:
    """Make the scenes that are not there yet; those that cannot be made join the bad ones."""
    total, done = len(jobs) + len(bad), {scene.scene for scene in kept}
    made: list[ConvertedScene] = []
    for scene_id, reason in bad.items():
        progress(len(kept) + len(bad), total, Outcome(scene_id, None, reason))
    left = [job for job in jobs if job.files.scene_id not in done]
    if bad and request.stop_at_bad_scene:
        return made
    with contextlib.closing(_outcomes(request, left)) as outcomes:
        for outcome in outcomes:
            if outcome.scene is None:
                bad[outcome.scene_id] = outcome.reason
            else:
                made.append(outcome.scene)
            progress(len(kept) + len(made) + len(bad), total, outcome)
            if bad and request.stop_at_bad_scene:
                break
    return made


def attempt(job: SceneJob) -> Outcome:
    """Convert one scene; a bad one is an outcome like any other."""
    scene_id = job.files.scene_id
    try:
        return Outcome(scene_id, convert_scene(job))
    except SceneError as error:
        place = f" ({error.path})" if error.path else ""
        return Outcome(scene_id, None, error.reason + place)


def _outcomes(request: DownloadRequest, jobs: Sequence[SceneJob]) -> Generator[Outcome]:
    """Attempts at all jobs, as they end: here, in processes, or on Ray."""
    if request.ray is not None:
        compute = RayCompute(None if request.ray == "local" else request.ray, request.workers)
        with contextlib.closing(compute):
            yield from compute.each(attempt, jobs)
    else:
        with contextlib.closing(spread(_attempting, jobs, request.workers)) as outcomes:
            yield from (outcome for _, outcome in outcomes)


def _attempting() -> Callable[[SceneJob], Outcome]:
    """What each process does with a job."""
    return attempt


class _Plan:
    """Which scenes are wanted, and what belongs to each."""

    def __init__(self, request: DownloadRequest) -> None:
        self._request = request
        self._download = Download(request.root)
        self._split_of = read_splits(request.splits or self._download.split_files())
        self._listed: dict[str, tuple[str, FrameList]] = {}
        for path in request.infos:
            split = split_named(path)
            for scene, listed in read_frame_lists(path).items():
                if self._listed.setdefault(scene, (split, listed))[0] != split:
                    raise DataError(f"{path}: {scene} is in the infos of another split, too")
        own = request.root / "mask"
        self.masks = request.proposals or (own if own.is_dir() else None)
        if self.masks is not None and not self.masks.is_dir():
            raise DataError(f"{self.masks}: no such folder of masks")

    @property
    def absent(self) -> int:
        """Scenes of the split lists that are not downloaded."""
        return len(set(self._split_of) - set(self._download.scenes()))

    @cached_property
    def labels(self) -> frozenset[str] | None:
        """Names that the label table knows; None without one."""
        table = self._download.label_table() or self._copied_table
        return frozenset(read_label_map(table).nyu40) if table.is_file() else None

    @property
    def table_to_copy(self) -> Path | None:
        """The label table of the download, unless DATA has one."""
        return None if self._copied_table.is_file() else self._download.label_table()

    @property
    def _copied_table(self) -> Path:
        return self._request.data / "metadata" / LABELS

    def jobs(self) -> tuple[list[SceneJob], dict[str, str]]:
        """A job per wanted scene, and the reasons of those that can have none.

        Raises:
            DataError: no scene is wanted, or nothing tells the split of any.
        """
        jobs, bad = [], {}
        for scene_id in self._wanted():
            try:
                jobs.append(self._job(scene_id))
            except SceneError as error:
                bad[scene_id] = error.reason + (f" ({error.path})" if error.path else "")
        return jobs, bad

    def _wanted(self) -> list[str]:
        if self._request.scenes is not None:
            if not self._request.scenes:
                raise DataError("no scene is asked for: what --scenes names is empty")
            return list(dict.fromkeys(self._request.scenes))
        scenes = self._download.scenes()
        if self._listed:
            scenes = [scene for scene in scenes if scene in self._listed]
        if not scenes:
            raise DataError(f"{self._request.root}: holds no scene that is wanted")
        return scenes

    def _job(self, scene_id: str) -> SceneJob:
        files = self._download.files(scene_id)
        own_split, listed = self._listed.get(scene_id, ("", None))
        if self._listed and listed is None:
            raise SceneError(scene_id, "is in none of the EmbodiedScan infos given")
        split = self._split_of.get(scene_id, own_split) or ("test" if files.is_test else "")
        if not split and not self._split_of:
            raise DataError(
                f"{self._request.root}: nothing tells which scenes are for training; put "
                "scannetv2_train.txt and scannetv2_val.txt (of ScanNet's repository, "
                "Tasks/Benchmark) into it, or name them with --splits"
            )
        if not split:
            raise SceneError(scene_id, "is in none of the split lists")
        return SceneJob(
            files=files,
            split=split,
            out=self._request.data / POSED_IMAGES,
            config=self._request.config,
            listed=listed,
            masks=find_masks(self.masks, scene_id) if self.masks else None,
            labels=self.labels,
        )


@contextlib.contextmanager
def _alone(data: Path) -> Generator[None]:
    """Keep other conversions out of the folder, and remove what one that was killed left."""
    images = data / POSED_IMAGES
    with contextlib.ExitStack() as stack:
        with storage_errors(f"write {images}"):
            try:
                images.mkdir(parents=True, exist_ok=True)
            except (FileExistsError, NotADirectoryError) as error:
                raise StorageError(f"{images}: cannot be made, a file is in the way") from error
            lock = stack.enter_context((images.parent / ".lock").open("w"))
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConflictError(f"{data}: another conversion is at work") from error
        with storage_errors(f"write {images}"):
            for leftover in images.glob(".*.*/"):
                shutil.rmtree(leftover)
        yield


def _report(
    request: DownloadRequest, result: Conversion, everything: Sequence[ConvertedScene]
) -> dict[str, Any]:
    """What `preparation.json` says: every scene of DATA, and the bad ones, of earlier calls too."""
    whole = {scene.scene for scene in everything}
    before = _bad_before(request.data).items()
    bad = {scene: why for scene, why in before if scene not in whole} | result.bad
    return {
        "root": str(request.root),
        "settings": request.config.canonical(),
        "scenes": {scene.scene: figures(scene) for scene in everything},
        "bad": dict(sorted(bad.items())),
    }


def _bad_before(data: Path) -> dict[str, str]:
    try:
        return dict(json.loads((data / REPORT).read_bytes())["bad"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def figures(scene: ConvertedScene) -> Mapping[str, Any]:
    """What is counted of a scene."""
    return {
        "split": scene.split,
        "frames_in_stream": scene.frames_in_stream,
        "frames": scene.frames,
        "without_pose": scene.without_pose,
        "listed": len(scene.listed),
        "objects": len(scene.boxes),
        "vanished": len(scene.vanished),
        "unknown_labels": len(scene.unknown_labels),
        "proposals": None if scene.proposals is None else len(scene.proposals),
        "empty_masks": scene.empty_masks,
        "boxes_with_points": scene.boxes_with_points,
        "remarks": scene.remarks,
        "seconds": scene.seconds,
    }
