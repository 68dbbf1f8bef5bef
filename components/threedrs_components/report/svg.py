"""Pieces of SVG that figures are written of."""

from __future__ import annotations

import html


def svg_text(
    x: float, y: float, text: str, anchor: str = "start", colour: str = "#222", weight: str = "400"
) -> str:
    """Text whose anchor stands at x, on the line y."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" '
        f'font-weight="{weight}">{html.escape(text)}</text>'
    )


def svg_line(
    x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1, dash: str = "none"
) -> str:
    """A straight line."""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}" stroke-dasharray="{dash}"/>'
    )
