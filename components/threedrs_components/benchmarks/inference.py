"""From what a model gives to a prediction: the decisions the benchmarks' own runners make.

Decoding is greedy: no sampling, one beam, at most `BenchmarkKind.max_new_tokens` tokens.
"""

from __future__ import annotations

from collections.abc import Sequence

from threedrs_components.metrics.grounding import best_candidate, select_boxes
from threedrs_platform.records import Prediction, Sample

END_MARKER = "<|im_end|>"
"""Of a turn, in the chat format of Qwen."""


def answer_text(decoded: str, end_marker: str = END_MARKER) -> str:
    """A decoded answer without the blanks around it and without the end marker behind it."""
    return decoded.strip().removesuffix(end_marker).strip()


def caption_prediction(sample: Sample, decoded: str | None) -> Prediction:
    """A caption with the box it is about; without a prompt box there is none to make, so ''."""
    if sample.box_input is None:
        return Prediction(sample.sample_id, text="")
    return Prediction(sample.sample_id, text=answer_text(decoded or ""), boxes=(sample.box_input,))


def grounding_prediction(
    sample: Sample, boxes: Sequence[tuple[float, ...]], scores: Sequence[float]
) -> Prediction:
    """The chosen boxes of a query from the scores of its candidates and of "no object".

    ScanRefer takes the best box, also where "no object" scores higher; Multi3DRefer takes none if
    it does, else the best boxes up to a cumulated probability of 0.4.
    """
    if sample.benchmark == "scanrefer":
        best = best_candidate(scores)
        chosen: tuple[int, ...] = () if best is None else (best,)
    else:
        chosen = select_boxes(scores)
    return Prediction(sample.sample_id, boxes=tuple(boxes[index] for index in chosen))
