"""What evaluators of the field read otherwise than it was meant: marks in texts, odd boxes."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from threedrs_components.benchmarks.tally import Tally
from threedrs_components.metrics.iou import CornerBox, paired_iou
from threedrs_platform.records import Prediction, Sample

_MARK = re.compile(r"<\|\w+\|>|</?s>|<(?:eos|bos|pad|end_of_turn)>|[\r\n\t]\s*\Z|\A\s*[\r\n\t]")
Numbers = Sequence[float]
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
    pairs = [
        (box, sample.target_boxes)
        for sample, found in zip(samples, chosen, strict=True)
        for box in (found if sample.target_boxes else ())
        if not isinstance(box, CornerBox)
    ]
    if not pairs:
        return
    as_given = int(_hits(pairs).sum())
    meant = _hits([(CornerBox.around((box[:3], box[3:6])), truth) for box, truth in pairs])
    if meant.sum() > as_given:
        tally.say_unread(
            f"boxes overlap their object by {HIT:g} if they are read as two corners, and only "
            f"{as_given} as centre and size; give centre x y z and size x y z",
            ((list(box), not hit) for (box, _), hit in zip(pairs, meant.tolist(), strict=True)),
        )


def _hits(pairs: Sequence[tuple[Numbers, Sequence[Numbers]]]) -> NDArray[np.bool_]:
    """Whether each box overlaps one of its true boxes enough [N]."""
    boxes = [box for box, truth in pairs for _ in truth]
    overlaps = paired_iou(boxes, [each for _, truth in pairs for each in truth])
    hits = np.zeros(len(pairs), dtype=bool)
    of_box = np.repeat(np.arange(len(pairs)), [len(truth) for _, truth in pairs])
    np.logical_or.at(hits, of_box, overlaps >= HIT)
    return hits
