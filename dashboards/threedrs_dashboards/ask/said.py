"""An answer as the page shows it: words or boxes, what it took, and what the run had said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from threedrs_components.models.asking import Choice
from threedrs_components.models.scenes import AskedScene
from threedrs_dashboards.ask.asker import Stage, Turn
from threedrs_dashboards.charts import Chart
from threedrs_dashboards.store import Store
from threedrs_dashboards.viewer.answers import answers, box_text, truth_text
from threedrs_dashboards.viewer.cells import ViewedCell
from threedrs_dashboards.viewer.room import (
    MOST_POINTS,
    OTHERS,
    OURS,
    NamedBox,
    room_chart,
)
from threedrs_dashboards.viewer.scene_data import SceneData, point_cloud
from threedrs_platform.records import Sample

CHOSEN, CANDIDATES = "chosen", "candidates"


@dataclass(frozen=True)
class Candidate:
    """A box that was chosen among others, for people."""

    name: str
    place: str
    score: float


@dataclass(frozen=True)
class Said:
    """One question with its answer."""

    turn: Turn
    text: str
    candidates: tuple[Candidate, ...]
    """Best first; none of an answer in words."""
    taken: tuple[tuple[str, float], ...]
    """What took how many seconds."""
    in_run: str = ""
    """What the cell's own run had answered to the same question."""
    truth: str = ""


def said(turn: Turn, cell: ViewedCell, samples: Mapping[str, Sample], store: Store) -> Said:
    """Everything that the page tells of a question."""
    answer = turn.answer
    candidates = () if answer is None else tuple(map(_candidate, answer.choices))
    words = "" if answer is None else answer.text
    if candidates:
        words = f"{candidates[0].name} {candidates[0].place}".strip()
    sample = turn.question.sample
    known = samples.get(sample.sample_id) if sample is not None else None
    in_run = answers([cell], known, store.database, store.artifacts)[0].text if known else ""
    taken = tuple((stage.value, turn.seconds[stage]) for stage in Stage if stage in turn.seconds)
    return Said(turn, words, candidates, taken, in_run, truth_text(known) if known else "")


def _candidate(choice: Choice) -> Candidate:
    if choice.box is None:
        return Candidate("no object", "", choice.score)
    return Candidate(choice.label, box_text(choice.box), choice.score)


def room_of(scene: AskedScene, turns: Sequence[Turn]) -> Chart:
    """The scene in 3D with the boxes to choose among, and the one that was chosen last."""
    data = SceneData(scene.prepared, scene.frames, "its frames cannot be read")
    boxed = [each for each in turns if each.answer is not None and each.answer.choices]
    chosen: list[NamedBox] = [
        (turn.question.text, box)
        for turn in boxed[:1]
        if turn.answer is not None and (box := turn.answer.choices[0].box) is not None
    ]
    labels = scene.labels
    others: list[NamedBox] = [
        (labels[row] if labels else f"candidate {row}", box)
        for row, box in enumerate(scene.candidates.boxes.tolist())
    ]
    why = "" if scene.frames else "Points are the tokens' mean places."
    groups, colours = {CHOSEN: chosen, CANDIDATES: others}, {CHOSEN: OURS, CANDIDATES: OTHERS}
    return room_chart(point_cloud(data, MOST_POINTS), groups, colours, {}, None, why)
