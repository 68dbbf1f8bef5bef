"""Everything one view of a scene is made of, gathered from a URL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from starlette.requests import Request

from threedrs_components.scenes.frames import centre_square
from threedrs_components.students.folder import is_student, read_config
from threedrs_dashboards.query import text
from threedrs_dashboards.store import Store, store_of
from threedrs_dashboards.viewer.answers import SAMPLES, find_sample, first_scored, scene_samples
from threedrs_dashboards.viewer.cells import ViewedCell
from threedrs_dashboards.viewer.maps import Features, Float32
from threedrs_dashboards.viewer.missing import Missing
from threedrs_dashboards.viewer.places import Places
from threedrs_dashboards.viewer.scene_data import SceneData, open_scene
from threedrs_dashboards.viewer.sources import StudentFeatures, teacher_features
from threedrs_dashboards.viewer.state import Chosen, Links, ViewState, choose, view_state
from threedrs_dashboards.viewer.views import Source
from threedrs_platform.errors import ThreedrsError
from threedrs_platform.records import Sample

CACHE = "dashboard-features"
TEACHER, BASELINE, OURS = "teacher", "baseline", "ours"
SOURCES = (TEACHER, BASELINE, OURS)


@dataclass(frozen=True)
class Subject:
    """One scene of one cell, in one state."""

    store: Store
    chosen: Chosen
    scene: SceneData
    places: Places
    samples: tuple[Sample, ...]
    sample: Sample | None
    state: ViewState

    @property
    def links(self) -> Links:
        """URLs to neighbouring states."""
        return Links(self.chosen, self.state)

    @property
    def teacher_title(self) -> str:
        """The teacher of the cell that is looked at."""
        return f"Teacher {self.chosen.cell.params.get('teacher') or ''}".strip()

    @property
    def depth(self) -> Float32 | None:
        """[F, h, w] metres, framed as the student's images are; None where frames are gone."""
        if self.scene.frames is None:
            return None
        depth = self.scene.frames.depth
        if self.chosen.cell.params.get("prepare", {}).get("resize") == "crop":
            rows, columns = centre_square(*depth.shape[1:])
            depth = depth[:, rows, columns]
        return depth

    def sources(self) -> list[Source]:
        """Features of teacher, baseline and ours, or why there are none."""
        return [self.source(name) for name in SOURCES]

    def source(self, name: str) -> Source:
        """One of them."""
        if name == TEACHER:
            return _source(name, self.teacher_title, self._teacher)
        cell = self.chosen.cell if name == OURS else self.chosen.against
        return _source(name, cell.title, lambda: self._student(cell))

    def _teacher(self) -> Features:
        cell = self.chosen.cell
        if "extract" not in cell.digests:
            raise Missing(f"{cell.title} learns from no teacher")
        folder = cell.folder("extract", self.store.artifacts)
        return teacher_features(folder, self.scene.prepared)

    def _student(self, cell: ViewedCell) -> Features:
        store = self.store
        checkpoint = cell.folder(cell.student_role, store.artifacts)
        if not is_student(checkpoint):
            raise Missing(f"{cell.title} is published weights, which lie elsewhere")
        prepared = self.chosen.cell.digests["prepare"]
        if cell.digests.get("prepare") != prepared:
            raise Missing(f"{cell.title} saw frames that were prepared in another way")
        made_from = f"{cell.digests[cell.student_role][:24]}-{prepared[:16]}"
        features = StudentFeatures(store.workspace.root / "cache" / CACHE)
        return features.of(checkpoint, made_from, self.scene.prepared, self.state.layer)

    def num_layers(self) -> int:
        """Layers of the student that is looked at; 0 where it has none yet."""
        try:
            cell = self.chosen.cell
            return _num_layers(cell.folder(cell.student_role, self.store.artifacts))
        except ThreedrsError:
            return 0


def _source(name: str, title: str, load: Callable[[], Features]) -> Source:
    try:
        return Source(name, title, load())
    except ThreedrsError as error:
        return Source(name, title, None, str(error))


@lru_cache(maxsize=64)
def _num_layers(checkpoint: Path) -> int:
    if not is_student(checkpoint):
        return 0
    model = read_config(checkpoint)["model"]
    return int(model.get("text_config", model).get("num_hidden_layers", 0))


def subject(request: Request) -> Subject:
    """What a URL asks for.

    Raises:
        ConfigError: it names something that is not there.
    """
    store = store_of(request)
    chosen = choose(request, store)
    return subject_of(request, store, chosen)


def subject_of(request: Request, store: Store, chosen: Chosen) -> Subject:
    """As `subject`, for a cell that is already found."""
    scene = open_scene(chosen.cell, text(request, "scene"), store.artifacts)
    scene_id = scene.prepared.scene_id
    has_samples = SAMPLES in chosen.cell.digests
    samples = scene_samples(chosen.cell, scene_id, store.artifacts) if has_samples else ()
    wanted = text(request, "sample") or first_scored(
        samples, chosen.cell, scene_id, text(request, "metric"), store.database
    )
    sample = find_sample(samples, wanted, scene_id)
    places = Places(scene.prepared)
    state = view_state(request, scene, places, sample.sample_id if sample else "")
    return Subject(store, chosen, scene, places, samples, sample, state)
