"""What the numbers of a run may not be read as. Printed by every report they apply to."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from threedrs_components.metrics.crossed import LEAST_SEEDS
from threedrs_components.report.table import ResultTable
from threedrs_components.report.traits import LAST, Traits

FEW_SEEDS = 5
"""Below this many seeds a test over seeds can hardly find anything; the report says so."""


@dataclass(frozen=True)
class Note:
    """One thing to keep in mind, and which runs it is true of, by what their cells train with."""

    text: str
    applies: Callable[[Sequence[Traits]], bool] = lambda cells: True


def _taught(cells: Sequence[Traits]) -> bool:
    return any(cell.teacher is not None for cell in cells)


def _taught_in_3d(cells: Sequence[Traits]) -> bool:
    return any(cell.sees == "3d" for cell in cells)


def _without_positions(cells: Sequence[Traits]) -> bool:
    return not any(cell.position_encoding for cell in cells)


MICRO_NOTES = (
    Note(
        "The micro world was built so that one view shows where in the room it looks (walls keep "
        "their compass identity). Real rooms have no compass: this demonstrates the mechanism, it "
        "does not estimate the paper's effect sizes."
    ),
    Note(
        "The 3D teacher learned from 3D labels, on more scenes than the student has text for, in "
        "the frame in which the questions are asked. That is the favourable case.",
        _taught_in_3d,
    ),
    Note(
        "The students have no 3D position encoding, unlike the paper's model; with it positions "
        "are given and the gain is expected to shrink.",
        _without_positions,
    ),
    Note(
        "Seeds vary the student's training only: there is one teacher of each kind, one 2D start "
        "and one data split, and the teachers are not matched in labels, compute or width.",
        _taught,
    ),
    Note(
        "Seeds vary the student's training only: there is one 2D start and one data split.",
        lambda cells: not _taught(cells),
    ),
    Note(
        "Vision tower and 2D start have seen the images of all training scenes, never those of the "
        "held-out scenes."
    ),
    Note(
        "The time at which distillation takes hold varies between seeds; a gap at few seeds may be "
        "much smaller or larger than the mean over many.",
        _taught,
    ),
    Note(
        "The correspondence score follows how alike all tokens are (a collapsed model scores 1): "
        "read it beside margin, standardised score and position probe."
    ),
)


COLOUR_ALONE = frozenset({"videos"})
"""Kinds of scenes without geometry. A test holds them against the registry, which would cost every
table a second."""


def honesty_notes(table: ResultTable) -> tuple[str, ...]:
    """The notes that apply to this run."""
    params = [row.replicates[0].settings for row in table.rows]
    cells = [row.traits for row in table.rows]
    notes: list[str] = []
    if any(is_micro(flat) for flat in params):
        notes += [note.text for note in MICRO_NOTES if note.applies(cells)]
    return (
        *notes,
        *_about_untold_teachers(cells),
        *_about_fusion(cells),
        *_about_colour_alone(params),
        *_about_layers(params),
        *_about_meteor(table, params),
        *_about_seeds(table),
        *_about_unanswered(table),
        *_about_acceptances(table),
    )


def _about_unanswered(table: ResultTable) -> list[str]:
    """Questions without an answer, most often because their scene could not be prepared."""
    notes = []
    for name in (each.name for each in table.columns if each.name.endswith("/missing")):
        entries = [row.entries[name] for row in table.rows]
        most = max((value for each in entries for value in each.values.values()), default=0)
        if most:
            benchmark = name.partition("/")[0]
            asked = max(each.n[-1] for each in entries if each.n)
            notes.append(
                f"{benchmark}: up to {most:.0f} of {asked} questions have no answer and count as "
                "wrong; the warnings of the steps say which scenes were left out."
            )
    return notes


def _about_acceptances(table: ResultTable) -> list[str]:
    """Numbers behind which somebody's word stands, not a computation."""
    cells: dict[tuple[str, str], set[str]] = {}
    for row in table.rows:
        for replicate in row.replicates:
            for step in replicate.steps:
                if step.accepted:
                    cells.setdefault((step.kind, step.accepted), set()).add(row.title)
    return [
        f"Accepted, not computed: {kind} of {', '.join(sorted(titles))} has results of older code, "
        f"declared valid ({why})."
        for (kind, why), titles in cells.items()
    ]


def is_micro(flat: Mapping[str, Any]) -> bool:
    """Whether a cell's scenes are rendered by the micro world."""
    return flat.get("scenes.kind") == "micro"


def is_rendered(table: ResultTable) -> bool:
    """Whether all numbers of a run are of rendered rooms."""
    return all(is_micro(row.replicates[0].settings) for row in table.rows)


def _about_colour_alone(params: Sequence[Mapping[str, Any]]) -> list[str]:
    kinds = {str(flat.get("scenes.kind")) for flat in params}
    without = sorted(kinds & COLOUR_ALONE)
    return [
        f"Scenes of kind {kind} have no depth and no cameras: nothing was probed, so there is no "
        "correspondence score and no position score."
        for kind in without
    ]


def _about_untold_teachers(cells: Sequence[Traits]) -> list[str]:
    untold = sorted({cell.teacher for cell in cells if cell.teacher and cell.sees is None})
    return [
        f"What the teacher {name!r} learned from is not said, so no finding counts it as a 3D or a "
        "2D teacher; say it with teachers.*.sees: 3d, 2d or nothing."
        for name in untold
    ]


def _about_fusion(cells: Sequence[Traits]) -> list[str]:
    if not any(cell.fuses for cell in cells):
        return []
    return [
        "Students with fusion read the teacher's features at inference, too: for every new scene "
        "teacher/seconds_per_scene is added to their prediction/seconds_per_scene, and the teacher "
        "has to be loaded. No other student needs a teacher once it is trained."
    ]


def _about_layers(params: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is assumed where layers before the last, or several, are aligned."""
    aligned = [flat for flat in params if flat.get("alignment.layers")]
    inner = {
        str(flat.get("alignment.inner_states", "raw")): None
        for flat in aligned
        if any(isinstance(each, int) and each != LAST for each in flat["alignment.layers"])
    }
    several = {
        str(flat.get("alignment.layer_losses", "mean")): None
        for flat in aligned
        if len(flat["alignment.layers"]) > 1
    }
    notes = []
    if inner:
        notes.append(
            f"Aligned layers before the last are {' and '.join(inner)} states "
            "(alignment.inner_states: raw is before the final norm, normalised after it); neither "
            "the paper nor its code tells which."
        )
    if several:
        notes.append(
            f"The losses of several aligned layers enter as their {' and '.join(several)} "
            "(alignment.layer_losses); nobody tells, and a sum weighs alignment as often as there "
            "are layers."
        )
    return notes


def _about_meteor(table: ResultTable, params: Sequence[Mapping[str, Any]]) -> list[str]:
    if not any(flat.get("benchmarks.meteor") == "if_installed" for flat in params):
        return []
    measured = [name for row in table.rows for cell in row.replicates for name in cell.measurements]
    texts = any("rouge_l" in name or "cider" in name for name in measured)
    if not texts or any("meteor" in name for name in measured):
        return []
    return ["METEOR was not measured: the extra is not installed (pip install -e '.[eval]')."]


def _about_seeds(table: ResultTable) -> list[str]:
    seeds = max((len(row.seeds) for row in table.rows), default=0)
    if seeds == 0 or seeds >= FEW_SEEDS:
        return []
    plural = "seed" if seeds == 1 else "seeds"
    consequence = (
        "no spread can be given, and nothing is tested but over scenes"
        if seeds == 1
        else "nothing is tested over seeds, and intervals are wide"
        if seeds < LEAST_SEEDS
        else "intervals are wide and few differences can be significant"
    )
    return [f"Only {seeds} {plural}: {consequence}."]
