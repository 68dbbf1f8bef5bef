"""Example questions of a report: what the main cells answered, with boxes drawn into frames."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from threedrs_components.scenes.frames import uniform_choice
from threedrs_dashboards.charts import COLOURS
from threedrs_dashboards.choices import first_of
from threedrs_dashboards.compare.arms import Arm
from threedrs_dashboards.compare.frames import DrawnFrame, frame_png
from threedrs_dashboards.compare.questions import Asked, ask, scored_names
from threedrs_dashboards.defaults import first_cells
from threedrs_dashboards.store import Store
from threedrs_dashboards.viewer.answers import SCORES, truth_text
from threedrs_dashboards.viewer.scene_data import open_scene
from threedrs_platform.database.grid_choice import grid_choice
from threedrs_platform.database.measurements import RunSummary
from threedrs_platform.database.schema import sample_scores
from threedrs_platform.errors import ThreedrsError

MOST_EXAMPLES, MOST_FRAMES, PIXELS = 3, 3, 320


@dataclass(frozen=True)
class ExampleAnswer:
    """What one cell answered."""

    title: str
    colour: str
    text: str
    score: float | None


@dataclass(frozen=True)
class Example:
    """One question of a report."""

    metric: str
    seed: int
    prompt: str
    scene_id: str
    truth: str
    answers: Sequence[ExampleAnswer]
    pictures: Sequence[tuple[DrawnFrame, str]]
    """Frames, and their pictures as data."""


def run_examples(store: Store, run: RunSummary) -> list[Example]:
    """A few questions of the first metric, evenly taken: nobody chose them by their answers.

    None where nothing is scored yet, or where what was answered is no longer in the store.
    """
    arms = _arms(store, run)
    if not arms:
        return []
    seed = arms[0].seeds[0]
    wanted = grid_choice(store.database, run.run_id).metrics
    names = first_of(scored_names(store, arms, seed), wanted)
    examples = []
    for sample_id, scene_id in _samples(store, arms[0], names[0]) if names else ():
        try:
            asked = ask(store, arms, seed, scene_id, sample_id)
            examples.append(_example(store, arms, asked, names[0], seed))
        except ThreedrsError:  # scores outlive the artifacts behind them
            continue
    return examples


def _arms(store: Store, run: RunSummary) -> list[Arm]:
    """The reference and the first taught cell, as far as they are there."""
    first = first_cells(store, run.run_id)
    if first is None:
        return []
    ids = list(dict.fromkeys((first.reference, first.ours)))
    groups = store.results.run_results(run.run_id, cell_ids=set(ids)).by_cell()
    return [
        Arm(run, groups[each], groups[each][0].title, colour)
        for each, colour in zip(ids, COLOURS, strict=False)
    ]


def _samples(store: Store, arm: Arm, metric: str) -> list[tuple[str, str]]:
    """Ids of samples and of their scenes."""
    scoring = [step.key for step in arm.replicates[0].steps if step.role == SCORES]
    query = (
        select(sample_scores.c.sample_id, sample_scores.c.scene_id)
        .where(sample_scores.c.step_key.in_(scoring), sample_scores.c.metric == metric)
        .order_by(sample_scores.c.scene_id, sample_scores.c.sample_id)
    )
    with store.database.read() as connection:
        every = [(row.sample_id, row.scene_id) for row in connection.execute(query)]
    return [every[at] for at in uniform_choice(len(every), min(MOST_EXAMPLES, len(every)))]


def _example(store: Store, arms: Sequence[Arm], asked: Asked, metric: str, seed: int) -> Example:
    frames = open_scene(asked.picture, asked.sample.scene_id, store.artifacts).frames
    pictures = [
        (each, _data_uri(frame_png(frames, each.index, PIXELS)))
        for each in asked.frames[:MOST_FRAMES]
        if frames is not None
    ]
    answers = [
        ExampleAnswer(
            arm.title, arm.colour, given.text or given.why_missing, given.scores.get(metric)
        )
        for arm, given in zip(arms, asked.given, strict=True)
    ]
    sample = asked.sample
    truth = truth_text(sample)
    return Example(metric, seed, sample.prompt, sample.scene_id, truth, answers, pictures)


def _data_uri(picture: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(picture).decode()
