"""Boxes in words: how a model that only writes is asked for them, and what it means."""

from __future__ import annotations

import re
from collections.abc import Sequence

from threedrs_components.benchmarks.annotations import Box
from threedrs_components.benchmarks.wording import POINTER
from threedrs_components.scenes.boxes import FARTHEST_M
from threedrs_platform.records import Prediction, Sample

BOX_FORM = "[x, y, z, dx, dy, dz], centre and full size in metres"
ONE_BOX = f"\nAnswer with the object's box: {BOX_FORM}."
ANY_BOXES = f"\nAnswer with a box for each of them: {BOX_FORM}; or with none."
NONE = "none"
"""The answer where no object is meant."""
NO_BOX = (
    f"answers hold no box where one is asked for: six numbers in brackets, {BOX_FORM}; they count "
    "as no box"
)
_NUMBER = re.compile(r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_GROUP = re.compile(r"[\[({<]([^\[\](){}<>]*)[\])}>]")
_DENIAL = re.compile(r"\b(?:none|nothing|no|not|zero)\b|\[\s*\]", re.IGNORECASE)


def box_text(box: Sequence[float]) -> str:
    """A box as it is written: to the centimetre."""
    return f"[{', '.join(f'{number:.2f}' for number in box)}]"


def question_in_words(sample: Sample, *, one_box: bool) -> str:
    """What is asked of a model that writes: boxes stand in the text, asked for or pointed at.

    Args:
        sample: the question.
        one_box: whether its benchmark asks for a single box.
    """
    if sample.kind == "ground":
        return sample.prompt + (ONE_BOX if one_box else ANY_BOXES)
    return sample.prompt.replace(POINTER, box_text(sample.box_input or ()))


def answer_in_words(sample: Sample) -> str:
    """The true answer, as such a model would write it."""
    if sample.kind == "ground":
        return ", ".join(map(box_text, sample.target_boxes)) or NONE
    return sample.answers[0]


def boxes_in(text: str) -> tuple[Box, ...]:
    """All boxes of a text: brackets with six numbers, or six numbers that are all there are."""
    groups = [_NUMBER.findall(group) for group in _GROUP.findall(text)]
    found = [group for group in groups if len(group) == 6] or [_NUMBER.findall(text)]
    boxes = [tuple(map(float, group)) for group in found if len(group) == 6]
    return tuple(
        (box[0], box[1], box[2], box[3], box[4], box[5])
        for box in boxes
        if max(map(abs, box)) <= FARTHEST_M
    )


def is_read(sample: Sample, text: str, *, one_box: bool) -> bool:
    """Whether words hold what is asked for: boxes, or that there is none where that may be."""
    if sample.kind != "ground" or boxes_in(text):
        return True
    return not one_box and _DENIAL.search(text) is not None


def prediction_in_words(sample: Sample, text: str, *, one_box: bool) -> Prediction:
    """What an answer in words stands for.

    Of several boxes for one object the first counts. Where a question pointed at no box, nothing
    was asked, and the empty text is the answer, as in a grid.

    Args:
        sample: the question.
        text: the answer.
        one_box: as for `question_in_words`.
    """
    if sample.kind == "ground":
        boxes = boxes_in(text)
        return Prediction(sample.sample_id, boxes=boxes[:1] if one_box else boxes)
    if sample.misses_its_box:
        return Prediction(sample.sample_id, text="")
    return Prediction(sample.sample_id, text=text)
