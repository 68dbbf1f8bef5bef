"""SVG plots of a report, written by hand: no plotting library, nothing to load."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from threedrs_components.report.document import Report
from threedrs_components.report.heat_maps import layer_map_figure
from threedrs_components.report.layer_map import layer_map_csv
from threedrs_components.report.notation import ABSENT, plain
from threedrs_components.report.svg import svg_line, svg_text
from threedrs_components.report.table import Column, Row

WIDTH, LABEL_WIDTH, ROW_HEIGHT, MARGIN = 640, 200, 26, 40
COLOURS = ("#3b6ea5", "#c8553d", "#588157", "#8d6a9f", "#b58900", "#4a4e69", "#2a9d8f", "#9d0208")


@dataclass(frozen=True)
class Scale:
    """Maps values to horizontal pixels."""

    low: float
    high: float

    def __call__(self, value: float) -> float:
        """Pixel of a value."""
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return LABEL_WIDTH + share * (WIDTH - LABEL_WIDTH - MARGIN)


def figures(report: Report) -> dict[str, str]:
    """File name -> text: an SVG per shown metric, every seed a dot; the layer map with its data."""
    plots = {
        f"{column.name.replace('/', '_').replace('@', '_at_')}.svg": metric_figure(
            column, report.table.rows
        )
        for column in report.table.columns
    }
    if report.layer_map:
        plots["layer_map.svg"] = layer_map_figure(report.layer_map)
        plots["layer_map.csv"] = layer_map_csv(report.layer_map)
    return plots


def metric_figure(column: Column, rows: Sequence[Row]) -> str:
    """Cells as rows: a dot per seed, a bar at the mean, a dashed line at chance."""
    values = [value for row in rows for value in row.entries[column.name].values.values()]
    values += [each for each in (column.chance, column.majority) if each is not None]
    scale = Scale(min(values, default=0.0), max(values, default=1.0))
    height = ROW_HEIGHT * len(rows) + 2 * MARGIN
    parts = [*_frame(column, scale, height)]
    for index, row in enumerate(rows):
        parts += _row(row, column, scale, index)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        f'font-family="system-ui,sans-serif" font-size="12">{"".join(parts)}</svg>\n'
    )


def _frame(column: Column, scale: Scale, height: int) -> Iterator[str]:
    bottom = height - MARGIN
    heading = f"{column.name} ({column.unit})" if column.unit else column.name
    yield f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
    yield svg_text(8, 20, heading, weight="600")
    for value in (scale.low, scale.high):
        yield svg_text(scale(value), bottom + 16, plain(value, column.unit), anchor="middle")
    yield svg_line(LABEL_WIDTH, bottom, WIDTH - MARGIN, bottom, "#999")
    for name, mark in (("chance", column.chance), ("majority", column.majority)):
        if mark is not None:
            x = scale(mark)
            yield svg_line(x, MARGIN - 8, x, bottom, "#999", dash="4 3")
            yield svg_text(x, bottom + 30, name, anchor="middle", colour="#666")


def _row(row: Row, column: Column, scale: Scale, index: int) -> Iterator[str]:
    y = MARGIN + ROW_HEIGHT * (index + 0.5)
    colour = COLOURS[index % len(COLOURS)]
    entry = row.entries[column.name]
    yield svg_text(LABEL_WIDTH - 8, y + 4, row.title, anchor="end")
    if entry.mean is None:
        yield svg_text(
            LABEL_WIDTH + 8, y + 4, "missing" if entry.reasons else ABSENT, colour="#999"
        )
        return
    yield svg_line(scale(entry.mean), y - 9, scale(entry.mean), y + 9, colour, width=3)
    for seed, value in sorted(entry.values.items()):
        yield (
            f'<circle cx="{scale(value):.1f}" cy="{y:.1f}" r="4" fill="{colour}" opacity="0.55">'
            f"<title>seed {seed}: {plain(value, column.unit)}</title></circle>"
        )
