"""The letters of a question's options, from what its sample says of their number."""

from __future__ import annotations

from string import ascii_uppercase

from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Sample


def option_letters(sample: Sample, row: int) -> str:
    """As many as there are options, from A on.

    Args:
        sample: the question.
        row: its place among the samples, for messages.

    Raises:
        AnnotationError: it does not say how many options there are, or there are no such letters.
    """
    told = sample.tags.get("options", "")
    count = int(told) if told.isdecimal() else 0
    if not 0 < count <= len(ascii_uppercase):
        reason = f"is {told!r}; a question with options says how many, 1 to {len(ascii_uppercase)}"
        raise AnnotationError("annotations", row, "tags.options", reason)
    return ascii_uppercase[:count]
