"""What evaluators of the field read otherwise than it was meant: marks in texts, odd boxes."""

from __future__ import annotations

import re
from collections.abc import Sequence

from threedrs_components.benchmarks.tally import Tally
from threedrs_components.metrics.iou import CornerBox, iou_matrix
from threedrs_platform.records import Prediction, Sample

_MARK = re.compile(r"<\|\w+\|>|</?s>|<(?:eos|bos|pad|end_of_turn)>|[\r\n\t]\s*\Z|\A\s*[\r\n\t]")
HIT = 0.25
"""IoU from which a box read as corners is taken to be meant so."""


def say_marks(tally: Tally, paired: Sequence[Prediction | None]) -> None:
    """Say it where answers carry marks of a tokenizer, or begin or end with a line break."""
    texts = [text for item in paired if item for text in (item.text, *item.texts) if text]
    tally.say_unread(
        "texts begin or end with a line break or carry a mark like <|im_end|>, which stays part of "
        "the answer; strip them",
        ((repr(text), not _MARK.search(text)) for text in texts),
    )


def say_odd_boxes(
    tally: Tally,
    samples: Sequence[Sample],
    chosen: Sequence[Sequence[Sequence[float]]],
) -> None:
    """Say it where predicted boxes have negative sizes, or hit only when read as corners.

    Args:
        tally: of the evaluation.
        samples: with their true boxes.
        chosen: [N] the boxes predicted for each sample.
    """
    boxes = [box for found in chosen for box in found if not isinstance(box, CornerBox)]
    tally.say_unread(
        "boxes have negative sizes, of which the absolute value is taken; a box is centre x y z "
        "and size x y z",
        ((list(box), min(box[3:6]) >= 0) for box in boxes),
    )
    as_given = as_corners = 0
    example: Sequence[float] = ()
    for sample, found in zip(samples, chosen, strict=True):
        given = [box for box in found if not isinstance(box, CornerBox)]
        if not given or not sample.target_boxes:
            continue
        as_given += int((iou_matrix(given, sample.target_boxes).max(axis=1) >= HIT).sum())
        read = [CornerBox.around((box[:3], box[3:6])) for box in given]
        hits = iou_matrix(read, sample.target_boxes).max(axis=1) >= HIT
        as_corners += int(hits.sum())
        example = example or next((box for box, hit in zip(given, hits, strict=True) if hit), ())
    if as_corners > as_given:
        tally.say_unread(
            f"boxes overlap their object by {HIT:g} if they are read as two corners, and only "
            f"{as_given} as centre and size; give centre x y z and size x y z",
            [(list(example), False)] * as_corners + [("", True)] * (len(boxes) - as_corners),
        )
