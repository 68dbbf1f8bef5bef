"""A method three times: as the paper prints it, its published weights here, and trained here.

The middle column is the yardstick: the same weights must give the paper's numbers, or the protocol
differs. Only then does the last column say anything about the training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from threedrs_components.paper.tables import LEGEND, PaperRow
from threedrs_components.report.notation import ABSENT, entry_text, printed, signed
from threedrs_components.report.paper import trained
from threedrs_components.report.sheets import Sheet
from threedrs_components.report.table import Entry, Row

PERCENT = "%"
NEVER = Entry({}, 0)
"""A metric that a cell does not measure."""
PRINTED, RELEASED, RETRAINED = "printed in the paper", "released weights here", "retrained here"
ACCURACY, CIDER, FAULT = 0.3, 1.0, 3.0
"""Points: what other kernels and number formats change of the same weights, in accuracies and in
CIDEr, and from where on something is wrong."""
NOTE = (
    f"The same weights may differ from the paper by {ACCURACY} points in accuracies and {CIDER} in "
    "CIDEr: other attention kernels and number formats change single greedy answers. From "
    f"{FAULT:.0f} on look at the vision tower, crop or squash (prepare.resize), newlines, prompts "
    "and object_features, in this order of benchmarks: ScanRefer (nothing is generated), SQA3D, "
    "Scan2Cap, Multi3DRefer."
)


def is_released(row: Row) -> bool:
    """Whether a cell evaluates published weights as they are."""
    mine = trained(row.replicates[0].params)
    return not mine.trains and mine.method is not None


def yardsticks(
    rows: Sequence[tuple[Row, PaperRow]], metrics: Sequence[str], title: str
) -> list[Sheet]:
    """One table per method of the paper, where published weights are among the cells.

    Args:
        rows: cells with their rows in the paper.
        metrics: to show.
        title: of the paper's table.
    """
    if not any(is_released(row) for row, _ in rows):
        return []
    methods = {theirs.method: theirs for _, theirs in rows}
    return [
        _sheet([row for row, other in rows if other is theirs], theirs, metrics, title)
        for theirs in methods.values()
    ]


def _sheet(rows: Sequence[Row], theirs: PaperRow, metrics: Sequence[str], title: str) -> Sheet:
    columns: list[tuple[str, Row | None]] = []
    for heading, of_released in ((RELEASED, True), (RETRAINED, False)):
        found = [(heading, row) for row in rows if is_released(row) is of_released]
        columns += found or [(heading, None)]
    several = len(columns) > len((RELEASED, RETRAINED))
    names = [f"{head}: {row.title}" if several and row else head for head, row in columns]
    released = next((row for _, row in columns if row and is_released(row)), None)
    lines = []
    for metric in metrics:
        cell = theirs.cells[metric]
        ours = [
            ABSENT if row is None else entry_text(row.entries.get(metric, NEVER), PERCENT)
            for _, row in columns
        ]
        lines.append(
            (metric, printed(cell.value) + cell.mark, *ours, *_judged(released, metric, cell.value))
        )
    header = ("", PRINTED, *names, "released - printed", "expected")
    legend = LEGEND if any(theirs.cells[metric].mark for metric in metrics) else ""
    return Sheet(f"{theirs.method} ({title}, %)", header, tuple(lines), legend)


def _judged(released: Row | None, metric: str, paper: float | None) -> Iterator[str]:
    """The difference, and what was to be expected."""
    tolerance = CIDER if "/cider" in metric else ACCURACY
    mean = None if released is None else released.entries.get(metric, NEVER).mean
    if mean is None or paper is None:
        yield from (ABSENT, f"± {tolerance}")
        return
    difference = mean - paper
    # Both are printed with one digit: half a unit of it is no difference.
    within = abs(difference) <= tolerance + 0.05
    wrong = abs(difference) >= FAULT
    yield signed(difference, PERCENT)
    yield f"± {tolerance}: " + ("within" if within else "FAULT, see notes" if wrong else "outside")
