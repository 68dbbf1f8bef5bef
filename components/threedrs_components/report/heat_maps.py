"""The layer map as one SVG: a heat map for each probe, rows aligned at, columns probed at."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence

from threedrs_components.report.layer_map import Panel
from threedrs_components.report.notation import plain
from threedrs_components.report.svg import svg_text

LABELS, HEAD, FOOT = 190, 58, 34
"""Pixels beside, above and below the cells of a panel."""
CELL_HEIGHT = 24
WIDEST, NARROWEST = 64, 22
TOTAL = 720
"""Pixels that the cells of a row may take before they grow narrow."""
NARROWEST_FOOT = 420
"""Pixels that the words below the cells take."""
SHORTEST_TEXT = 34
"""A cell that is narrower shows its number on hovering alone."""
LAST = "-1"
NO_BETTER = "#e8e8e8"
"""Of a cell that is not above chance."""
LIGHT, DARK = (247, 250, 253), (16, 78, 139)


def layer_map_figure(panels: Sequence[Panel]) -> str:
    """All panels below each other."""
    widths = [_cell_width(panel) * len(panel.places) for panel in panels]
    width = LABELS + max(*widths, NARROWEST_FOOT) + 20
    parts, top = [], 0.0
    for panel in panels:
        parts += [f'<g transform="translate(0 {top:.0f})">', *_panel(panel), "</g>"]
        top += _height(panel)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top:.0f}" '
        f'font-family="system-ui,sans-serif" font-size="11"><rect width="{width}" '
        f'height="{top:.0f}" fill="#fff"/>{"".join(parts)}</svg>\n'
    )


def _height(panel: Panel) -> float:
    return HEAD + CELL_HEIGHT * len(panel.rows) + FOOT


def _cell_width(panel: Panel) -> int:
    return max(NARROWEST, min(WIDEST, TOTAL // len(panel.places)))


def _panel(panel: Panel) -> Iterator[str]:
    width = _cell_width(panel)
    chance = "" if panel.chance is None else f", chance {plain(panel.chance, panel.unit)}"
    counts = "/".join(map(str, panel.n))
    yield svg_text(8, 20, f"{panel.name} ({panel.unit}{chance}, n = {counts})", weight="600")
    yield svg_text(LABELS - 8, HEAD - 6, "trained with \\ probed at", anchor="end", colour="#666")
    for at, place in enumerate(panel.places):
        name = "last" if place == LAST else place
        short = name if width >= SHORTEST_TEXT else name[:4]
        yield svg_text(LABELS + width * (at + 0.5), HEAD - 6, short, anchor="middle")
    known = [value for row in panel.values for value in row if value is not None]
    # Colours are for what is above chance; without anything of the kind nothing is coloured.
    shown = [value for value in known if _is_above(value, panel)] or known
    low, high = min(shown), max(shown)
    for row, title in enumerate(panel.rows):
        top = HEAD + CELL_HEIGHT * row
        yield svg_text(LABELS - 8, top + 16, title, anchor="end")
        for at in range(len(panel.places)):
            yield from _cell(panel, row, at, (LABELS + width * at, top, width), (low, high))
    bottom = HEAD + CELL_HEIGHT * len(panel.rows) + 16
    bounds = f"light {plain(low, panel.unit)}, dark {plain(high, panel.unit)}"
    seeds = "/".join(map(str, sorted(set(panel.seeds))))
    marks = "framed: trained there" + ("" if panel.chance is None else "; grey: not above chance")
    told = f"{bounds}; seeds: {seeds}; {marks}"
    yield svg_text(LABELS, bottom, told, colour="#666")


def _cell(
    panel: Panel, row: int, at: int, box: tuple[float, float, int], limits: tuple[float, float]
) -> Iterator[str]:
    value, spread = panel.values[row][at], panel.spreads[row][at]
    left, top, width = box
    if value is None:
        yield svg_text(left + width / 2, top + 16, "-", anchor="middle", colour="#999")
        return
    share = max(0.0, value - limits[0]) / ((limits[1] - limits[0]) or 1.0)
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(LIGHT, DARK, strict=True))
    above = _is_above(value, panel)
    fill = f"rgb({red},{green},{blue})" if above else NO_BETTER
    trained = panel.places[at] in panel.aligned[row]
    edge = ' stroke="#c2571a" stroke-width="2"' if trained else ""
    told = plain(value, panel.unit)
    exact = told if spread is None else f"{told} ± {plain(spread, panel.unit)}"
    yield (
        f'<rect x="{left + 1:.0f}" y="{top + 1:.0f}" width="{width - 2}" '
        f'height="{CELL_HEIGHT - 2}" fill="{fill}"{edge}>'
        f"<title>{html.escape(f'{panel.rows[row]}, probed at {panel.places[at]}: {exact}')}"
        "</title></rect>"
    )
    if width >= SHORTEST_TEXT:
        colour = "#fff" if share > 0.55 and above else "#222"
        yield svg_text(left + width / 2, top + 16, told, anchor="middle", colour=colour)


def _is_above(value: float, panel: Panel) -> bool:
    return panel.chance is None or value > panel.chance
