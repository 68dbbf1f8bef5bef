"""Teacher features of scenes: pooled to the student's grid, stored scene by scene."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from threedrs_components.scenes.ahead import ahead, behind
from threedrs_components.scenes.geometry import overlaps
from threedrs_components.scenes.prepared import choose_frames
from threedrs_components.scenes.source import SceneSource
from threedrs_components.teachers.fingerprints import check_images, fingerprints
from threedrs_components.teachers.teacher import Teacher, TeacherCard, check_grid
from threedrs_platform.errors import DataError, SceneError
from threedrs_platform.records import FeatureMap, Scene
from threedrs_platform.sealed import drop_contradicted
from threedrs_platform.store.features import (
    FeatureHeader,
    check_frames,
    feature_path,
    read_features,
    write_features,
)

ROUNDING = 0.01
"""Share that whole patches and pixels may cut."""


@dataclass(frozen=True)
class Extraction:
    """What a pass over scenes did."""

    written: tuple[str, ...]
    kept: tuple[str, ...]
    """Scenes whose file was already there."""
    skipped: dict[str, str]
    """Bad scenes that were left out, with the reason."""
    cut: dict[str, float]
    """Scenes of whose frames the teacher does not see all that the student sees: the share."""
    damaged: tuple[str, ...]
    """What is to be told of files that were there, and were made again."""


@dataclass(frozen=True)
class SceneOutcome:
    """What came of one scene."""

    skipped: str | None = None
    """Why it was left out; None of one that has features."""
    cut: float = 0.0
    """Share of its frames that the teacher does not see."""


def reasons(outcomes: Mapping[str, SceneOutcome]) -> dict[str, str]:
    """Skipped scenes, sorted, with the reason."""
    return {name: each.skipped for name, each in sorted(outcomes.items()) if each.skipped}


def extract_scene(teacher: Teacher, scene: Scene, grid: int, area: float = 1.0) -> FeatureMap:
    """Features of one scene, averaged to grid x grid in float32, kept as float16.

    Args:
        teacher: that sees the scene.
        scene: to be seen.
        grid: rows and columns to pool to.
        area: see `pooled`.

    Raises:
        ConfigError: the grid is finer than the teacher's own.
        DataError: a value is not finite, or too large for float16.
    """
    own = teacher.scene_features(scene)
    check_grid(grid, min(own.shape[1:3]))
    features = pooled(own, grid, area)
    limit = torch.finfo(torch.float16).max
    if not bool((features.abs() <= limit).all()):
        raise DataError(
            f"scene {scene.scene_id}: teacher {teacher.card.kind} gave values that are not finite "
            f"or above {limit:.0f}, which float16 cannot hold"
        )
    values = features.to(torch.float16).cpu().numpy()
    return FeatureMap(scene.scene_id, scene.frame_names, values, fingerprints(scene.images))


def pooled(features: Tensor, grid: int, area: float = 1.0) -> Tensor:
    """[F, rows, columns, C] -> [F, grid, grid, C] float32 by average pooling.

    Args:
        features: over whole frames.
        grid: rows and columns to pool to.
        area: share of a frame's height, from the top, and of its width, from the left, that the
            grid covers. All of it is pooled adaptively, as released; of a part each cell takes
            what lies in it, and of what its edges cut the share inside.
    """
    maps = features.float().permute(0, 3, 1, 2)
    if area == 1.0:
        return F.adaptive_avg_pool2d(maps, grid).permute(0, 2, 3, 1)
    rows, columns = (overlaps(side, grid, area).to(maps.device) for side in maps.shape[2:])
    return (rows @ maps @ columns.T).permute(0, 2, 3, 1)


def header_of(card: TeacherCard) -> FeatureHeader:
    """The header that a teacher's feature files carry."""
    return FeatureHeader(
        card.kind, card.source_digest, card.licence, card.preprocessing, card.layer, card.output
    )


def extract_scenes(
    teacher: Teacher,
    source: SceneSource,
    scene_ids: Sequence[str],
    out: Path,
    grid: int,
    *,
    area: float = 1.0,
    num_frames: int | None = None,
    coverage_voxel_m: float | None = None,
    max_cut: float = 1.0,
    skip_bad_scenes: bool = False,
    progress: Callable[[int, int, str], None] = lambda done, total, note: None,
) -> Extraction:
    """`extract_each` for all of the scenes; files that were damaged since are made again."""
    damaged: list[str] = []
    for scene_id in scene_ids:
        drop_contradicted(feature_path(out, scene_id), damaged.append)
    there = {scene_id for scene_id in scene_ids if feature_path(out, scene_id).exists()}
    outcomes: dict[str, SceneOutcome] = {}
    for scene_id, outcome in extract_each(
        teacher,
        source,
        scene_ids,
        out,
        grid,
        area=area,
        num_frames=num_frames,
        coverage_voxel_m=coverage_voxel_m,
        max_cut=max_cut,
        skip_bad_scenes=skip_bad_scenes,
    ):
        outcomes[scene_id] = outcome
        skipped = f" skipped: {outcome.skipped}" if outcome.skipped else ""
        progress(len(outcomes), len(scene_ids), f"{scene_id}{skipped}")
    done = [scene_id for scene_id, outcome in outcomes.items() if outcome.skipped is None]
    return Extraction(
        written=tuple(each for each in done if each not in there),
        kept=tuple(each for each in done if each in there),
        skipped=reasons(outcomes),
        cut={scene_id: each.cut for scene_id, each in outcomes.items() if each.cut},
        damaged=tuple(damaged),
    )


def extract_each(
    teacher: Teacher,
    source: SceneSource,
    scene_ids: Sequence[str],
    out: Path,
    grid: int,
    *,
    area: float = 1.0,
    num_frames: int | None = None,
    coverage_voxel_m: float | None = None,
    max_cut: float = 1.0,
    skip_bad_scenes: bool = False,
) -> Iterator[tuple[str, SceneOutcome]]:
    """Write the features of every scene that `out` does not hold yet.

    With `num_frames` the teacher sees the frames that scenes prepared with as many have, chosen in
    the same way (see `choose_frames`); of `area` see `pooled`. A scene is unusable if the teacher
    cuts more than `max_cut` of its frames. Yields each scene when it is done.

    Raises:
        ConfigError: the grid is finer than the teacher's own.
        SceneError: a scene is unusable and `skip_bad_scenes` is off.
        DataError: `out` holds features of another teacher, layer, grid or frame list.
    """
    check_grid(grid, teacher.grid)
    header = header_of(teacher.card)

    def load(scene_id: str) -> Scene | SceneError:
        try:
            scene = source.load(scene_id)
            if num_frames is not None:
                scene = choose_frames(scene, num_frames, coverage_voxel_m)
            check_cut(scene_id, share_cut(teacher, scene), max_cut)
            return scene
        except SceneError as error:
            if not skip_bad_scenes:
                raise
            return error

    def extract() -> Generator[tuple[str, SceneOutcome, FeatureMap | None], None, None]:
        with closing(ahead(load, scene_ids)) as scenes:
            for scene_id, scene in zip(scene_ids, scenes, strict=True):
                if isinstance(scene, SceneError):
                    yield scene_id, SceneOutcome(skipped=scene.reason), None
                    continue
                features, path = None, feature_path(out, scene_id)
                if path.exists():
                    _check_same_extraction(path, header, grid, scene)
                else:
                    features = extract_scene(teacher, scene, grid, area)
                yield scene_id, SceneOutcome(cut=share_cut(teacher, scene)), features

    def write(
        extracted: tuple[str, SceneOutcome, FeatureMap | None],
    ) -> tuple[str, SceneOutcome]:
        scene_id, outcome, features = extracted
        if features is not None:
            write_features(feature_path(out, scene_id), features, header)
        return scene_id, outcome

    yield from behind(write, extract())


def share_cut(teacher: Teacher, scene: Scene) -> float:
    """Share of a scene's frames that the teacher's framing cuts off.

    Whatever the student cuts itself: its features are to serve every student.
    """
    rows, columns = teacher.seen(*scene.images.shape[1:3])
    lost = 1 - rows * columns
    return lost if lost > ROUNDING else 0.0


def check_cut(scene_id: str, lost: float, limit: float) -> None:
    """Refuse a scene of which the teacher sees too little.

    Raises:
        SceneError: says the share, and what to do.
    """
    if lost > limit:
        raise SceneError(
            scene_id,
            f"the teacher's framing cuts {lost:.0%} of its frames, so that features would lie "
            f"under other tokens; at most {limit:.0%} are allowed (teachers.*.max_cut). Set "
            "teachers.*.framing: squash, which cuts nothing; or a higher limit for a student that "
            "sees the same part (prepare.resize: crop)",
        )


def _check_same_extraction(path: Path, header: FeatureHeader, grid: int, scene: Scene) -> None:
    stored = read_features(path)
    found, wanted = (
        {**asdict(each), "source_digest": each.source_digest[:12], "grid": side}
        for each, side in ((stored.header, stored.features.features.shape[1]), (header, grid))
    )
    if (stored.header, found["grid"]) != (header, grid):
        differing = [name for name, value in wanted.items() if found[name] != value]
        raise DataError(
            f"{path}: made with other settings; choose another output folder. "
            + "; ".join(f"{name}: {found[name]!r}, now {wanted[name]!r}" for name in differing)
        )
    check_frames(stored.features, scene.frame_names)
    try:
        check_images(stored.features, scene.images)
    except DataError as error:
        raise DataError(f"{path}: {error}; choose another output folder") from error
