"""What is drawn of one scene in 3D, and its answers as a table."""

from __future__ import annotations

from collections.abc import Sequence

from threedrs_dashboards.charts import Chart
from threedrs_dashboards.tables import Table
from threedrs_dashboards.viewer.answers import Answer
from threedrs_dashboards.viewer.cells import ViewedCell
from threedrs_dashboards.viewer.room import (
    BASELINE,
    MOST_POINTS,
    OTHERS,
    OURS,
    TRUTH,
    NamedBox,
    room_chart,
)
from threedrs_dashboards.viewer.scene_data import point_cloud
from threedrs_dashboards.viewer.subject import Subject

TRUE_BOX, BASELINE_BOX, OUR_BOX, OTHER_BOX = "ground truth", "baseline", "ours", "other objects"
COLOURS = {TRUE_BOX: TRUTH, BASELINE_BOX: BASELINE, OUR_BOX: OURS, OTHER_BOX: OTHERS}


def scene_room(seen: Subject, given: Sequence[Answer]) -> Chart:
    """Points, boxes, cameras and the chosen token."""
    state = seen.state
    cameras = seen.scene.cameras
    shown = {} if cameras is None else {
        f"camera of view {name}, frame {index}": cameras[index].tolist()
        for name, index in (("A", state.token.frame), ("B", state.other))
    }  # fmt: skip
    why = seen.scene.why_no_frames
    note = f"Points are the tokens' mean places, because {why}." if why else ""
    cloud = point_cloud(seen.scene, MOST_POINTS)
    return room_chart(cloud, boxes_of(seen, given), COLOURS, shown, token_place(seen), note)


def token_place(seen: Subject) -> list[float] | None:
    """Mean place of the chosen token's pixels, metres; None if none has depth."""
    token, prepared = seen.state.token, seen.scene.prepared
    if int(prepared.counts[token.frame, token.row, token.column]) == 0:
        return None
    place = prepared.coordinates[token.frame, token.row, token.column].tolist()
    return [round(float(value), 4) for value in place]


def boxes_of(seen: Subject, given: Sequence[Answer]) -> dict[str, list[NamedBox]]:
    """Boxes by group: the sample's targets, what baseline and ours chose, and other objects."""
    prepared, sample = seen.scene.prepared, seen.sample
    names = dict(zip(prepared.object_ids.tolist(), prepared.labels, strict=True))
    everything = dict(zip(prepared.object_ids.tolist(), prepared.boxes.tolist(), strict=True))
    targets: dict[int | str, Sequence[float]] = {}
    if sample is not None:
        targets |= dict(zip(sample.target_ids, sample.target_boxes, strict=False))
        if sample.box_input is not None and not targets:
            targets["asked about"] = sample.box_input
    true: list[NamedBox] = [
        (f"{names.get(key, '')} {key}".strip() if isinstance(key, int) else key, list(box))
        for key, box in targets.items()
    ]
    others: list[NamedBox] = [
        (f"{names[key]} {key}", box) for key, box in everything.items() if key not in targets
    ]
    return {
        TRUE_BOX: true,
        BASELINE_BOX: _chosen_by(seen.chosen.against, given),
        OUR_BOX: _chosen_by(seen.chosen.cell, given),
        OTHER_BOX: others,
    }


def _chosen_by(cell: ViewedCell, given: Sequence[Answer]) -> list[NamedBox]:
    return [
        (f"{cell.title}: answer {rank}", list(box))
        for answer in given
        if (answer.cell.cell_id, answer.cell.seed) == (cell.cell_id, cell.seed)
        for rank, box in enumerate(answer.boxes, 1)
    ]


def answer_table(given: Sequence[Answer]) -> Table:
    """One row per cell, one column per metric of the sample."""
    metrics = sorted({name for answer in given for name in answer.scores})
    rows = [
        (answer.cell.cell_id, answer.cell.title, answer.cell.seed, answer.text,
         *(answer.scores.get(name) for name in metrics), answer.why_missing)
        for answer in given
    ]  # fmt: skip
    return Table(("cell_id", "cell", "seed", "answer", *metrics, "missing"), rows)
