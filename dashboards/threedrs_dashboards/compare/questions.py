"""One question, and what every arm answered: in words, in scores, and as boxes in the room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from threedrs_dashboards.charts import INK, Chart
from threedrs_dashboards.compare.arms import Arm
from threedrs_dashboards.compare.frames import ColouredBox, DrawnFrame, drawn_frames
from threedrs_dashboards.store import Store
from threedrs_dashboards.viewer.answers import SCORES, Answer, answers, scene_samples
from threedrs_dashboards.viewer.cells import ViewedCell, view_cells
from threedrs_dashboards.viewer.missing import Missing
from threedrs_dashboards.viewer.room import MOST_POINTS, NamedBox, room_chart
from threedrs_dashboards.viewer.scene_data import SceneData, open_scene, point_cloud
from threedrs_platform.database.measurements import Measurement
from threedrs_platform.database.schema import sample_scores
from threedrs_platform.errors import ThreedrsError
from threedrs_platform.records import Sample

MOST_OFFERED = 40
TRUE_BOX = "ground truth"
TRUTH = INK
"""The paper's blue is the colour of the first arm."""


@dataclass(frozen=True)
class Question:
    """A question that the arms were asked, and how far apart their scores of it are."""

    sample_id: str
    scene_id: str
    spread: float


@dataclass(frozen=True)
class Asked:
    """One question with everything that is shown of it."""

    sample: Sample
    given: Sequence[Answer]
    """In the order of the arms."""
    picture: ViewedCell
    """The cell whose frames are shown."""
    chart: Chart | None
    """The room with boxes."""
    why_no_room: str = ""
    frames: Sequence[DrawnFrame] = ()
    """Those that show the boxes best; none where no box is asked for or answered."""

    @property
    def metrics(self) -> list[str]:
        """Those in which the sample is scored."""
        return sorted({name for each in self.given for name in each.scores})


def scored_names(store: Store, arms: Sequence[Arm], seed: int | None) -> list[str]:
    """Metrics of which an arm has a score per question."""
    measured = _measured(arms, seed)
    keys = {each.step_key for group in measured.values() for each in group}
    query = select(sample_scores.c.step_key, sample_scores.c.metric).distinct()
    with store.database.read() as connection:
        rows = connection.execute(query.where(sample_scores.c.step_key.in_(keys)))
        known = {(row.step_key, row.metric) for row in rows}
    return [
        name
        for name, group in measured.items()
        if any((each.step_key, each.metric.name) in known for each in group)
    ]


def _measured(arms: Sequence[Arm], seed: int | None) -> Mapping[str, list[Measurement]]:
    """Of the steps that score answers: probes have scores per scene, and ask nothing."""
    found: dict[str, list[Measurement]] = {}
    for arm in arms:
        cell = arm.under(seed)
        scoring = {step.key for step in cell.steps if step.role == SCORES}
        for name, each in cell.measurements.items():
            if each.step_key in scoring:
                found.setdefault(name, []).append(each)
    return found


def questions(store: Store, arms: Sequence[Arm], seed: int | None, metric: str) -> list[Question]:
    """Samples of a metric, those first on which the arms are furthest apart."""
    group = _measured(arms, seed)[metric]
    value = sample_scores.c.value
    spread = func.max(value) - func.min(value)
    query = (
        select(sample_scores.c.sample_id, sample_scores.c.scene_id, spread)
        .where(
            sample_scores.c.step_key.in_({each.step_key for each in group}),
            sample_scores.c.metric.in_({each.metric.name for each in group}),
            value.is_not(None),
        )
        .group_by(sample_scores.c.sample_id, sample_scores.c.scene_id)
        .order_by(spread.desc(), sample_scores.c.sample_id)
        .limit(MOST_OFFERED)
    )
    with store.database.read() as connection:
        return [Question(*row) for row in connection.execute(query)]


def ask(
    store: Store, arms: Sequence[Arm], seed: int | None, scene_id: str, sample_id: str
) -> Asked:
    """What all arms answered to a sample of a scene.

    Raises:
        Missing: no arm was asked it.
        ArtifactError: the store no longer holds the questions.
    """
    cells = [_viewed(store, arm, seed) for arm in arms]
    picture, sample = _find(store, cells, scene_id, sample_id)
    given = answers(cells, sample, store.database, store.artifacts)
    try:
        scene = open_scene(picture, scene_id, store.artifacts)
        boxes = _boxes(sample, arms, given)
        frames = drawn_frames(scene.frames, boxes) if scene.frames is not None else []
        return Asked(sample, given, picture, _room(scene, boxes), frames=frames)
    except ThreedrsError as error:
        return Asked(sample, given, picture, None, str(error))


def _viewed(store: Store, arm: Arm, seed: int | None) -> ViewedCell:
    wanted = [(arm.cell_id, arm.under(seed).seed)]
    return view_cells(store.database, arm.run.run_id, wanted)[0]


def _find(
    store: Store, cells: Sequence[ViewedCell], scene_id: str, sample_id: str
) -> tuple[ViewedCell, Sample]:
    """The first cell that was asked the sample, and the sample as it was asked there."""
    for cell in cells:
        try:
            known = scene_samples(cell, scene_id, store.artifacts)
        except Missing:
            continue
        for sample in known:
            if sample.sample_id == sample_id:
                return cell, sample
    raise Missing(f"none of these cells was asked {sample_id!r} about scene {scene_id!r}")


def _boxes(sample: Sample, arms: Sequence[Arm], given: Sequence[Answer]) -> list[ColouredBox]:
    """The true boxes, or the one that is asked about, and those that the arms chose."""
    true = list(sample.target_boxes) or ([sample.box_input] if sample.box_input else [])
    chosen = [
        ColouredBox(arm.title, arm.colour, box)
        for arm, answer in zip(arms, given, strict=True)
        for box in answer.boxes
    ]
    return [*(ColouredBox(TRUE_BOX, TRUTH, box, True) for box in true), *chosen]


def _room(scene: SceneData, boxes: Sequence[ColouredBox]) -> Chart:
    """The scene in 3D with the true boxes and those that the arms chose."""
    groups: dict[str, list[NamedBox]] = {TRUE_BOX: []}
    for each in boxes:
        label = TRUE_BOX if each.is_true else f"{each.title}: answer"
        groups.setdefault(each.title, []).append((label, each.box))
    colours = {TRUE_BOX: TRUTH, **{each.title: each.colour for each in boxes}}
    why = scene.why_no_frames
    note = f"Points are the tokens' mean places, because {why}." if why else ""
    return room_chart(point_cloud(scene, MOST_POINTS), groups, colours, {}, None, note)
