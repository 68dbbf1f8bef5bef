"""What the numbers of a run may not be read as. Printed by every report they apply to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from threedrs_components.report.table import ResultTable
from threedrs_platform.database.measurements import flatten

FEW_SEEDS = 5
"""Below this many seeds a test over seeds can hardly find anything; the report says so."""

MICRO_NOTES = (
    "The micro world was built so that one view shows where in the room it looks (walls keep their "
    "compass identity). Real rooms have no compass: this demonstrates the mechanism, it does not "
    "estimate the paper's effect sizes.",
    "The 3D teacher learned from 3D labels, on more scenes than the student has text for, in the "
    "frame in which the questions are asked. That is the favourable case.",
    "The students have no 3D position encoding, unlike the paper's model; with it positions are "
    "given and the gain is expected to shrink.",
    "Seeds vary the student's training only: there is one teacher of each kind, one 2D start and "
    "one data split, and the teachers are not matched in labels, compute or width.",
    "Vision tower and 2D start have seen the images of all training scenes, never those of the "
    "held-out scenes.",
    "The time at which distillation takes hold varies between seeds; a gap at few seeds may be "
    "much smaller or larger than the mean over many.",
    "The correspondence score follows how alike all tokens are (a collapsed model scores 1): read "
    "it beside margin, standardised score and position probe.",
)
POSITION_ENCODING_NOTE = MICRO_NOTES[2]


def honesty_notes(table: ResultTable) -> tuple[str, ...]:
    """The notes that apply to this run."""
    params = [flatten(row.replicates[0].params) for row in table.rows]
    notes: list[str] = []
    if any(is_micro(flat) for flat in params):
        notes += MICRO_NOTES
        if any(flat.get(f"students.{flat.get('student')}.position_encoding") for flat in params):
            notes.remove(POSITION_ENCODING_NOTE)
    return (*notes, *_about_seeds(table), *_about_acceptances(table))


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


def _about_seeds(table: ResultTable) -> list[str]:
    seeds = max((len(row.seeds) for row in table.rows), default=0)
    if seeds == 0 or seeds >= FEW_SEEDS:
        return []
    plural = "seed" if seeds == 1 else "seeds"
    consequence = (
        "no spread and no test over seeds can be given"
        if seeds == 1
        else "intervals over seeds are wide and few differences can be significant"
    )
    return [f"Only {seeds} {plural}: {consequence}."]
