"""How many patches a frame of some shape becomes. No torch: grid files are checked by it."""

from __future__ import annotations

import math

Shape = tuple[int, int]
"""Height and width of frames; only their ratio counts."""
SQUARE: Shape = (1, 1)
"""Has the most rows: what is counted with where no frame is here to look at."""


def rows_in_proportion(frame: Shape, width: int, patch: int) -> int:
    """Rows of patches of a frame that is brought to a width in pixels and keeps its shape."""
    return max(1, round(frame[0] * width / frame[1] / patch))


def patches_within(frame: Shape, pixels: int, patch: int) -> tuple[int, int]:
    """Rows and columns of a frame that keeps its shape and has at most so many pixels.

    As Pi3's loader counts them: sides in proportion, rounded to whole patches (half to even),
    then the side that is relatively longer gives one patch after the other.
    """
    height, width = frame
    scale = math.sqrt(pixels / (width * height))
    wide, tall = width * scale, height * scale
    columns, rows = max(1, round(wide / patch)), max(1, round(tall / patch))
    while columns * rows * patch**2 > pixels and (columns, rows) != (1, 1):
        if rows == 1 or (columns > 1 and columns / rows > wide / tall):
            columns -= 1
        else:
            rows -= 1
    return rows, columns


def told(frame: Shape) -> str:
    """The ratio of width to height, for messages: "4:3"."""
    common = math.gcd(*frame)
    return f"{frame[1] // common}:{frame[0] // common}"
