"""Which predicted caption speaks for which object: the rules the Scan2Cap evaluators differ in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from threedrs_components.benchmarks.annotations import refuse_repeats
from threedrs_components.metrics.iou import DOUBLE, SCAN2CAP, IouRule, bounds, iou_matrix
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Prediction, Sample


@dataclass(frozen=True)
class CaptionedBox:
    """One predicted box of a scene and what is said about it."""

    box: tuple[float, ...]
    text: str


@dataclass(frozen=True)
class Captions:
    """Predictions in both forms: one answer per object, or captioned boxes per scene."""

    by_object: Sequence[Prediction | None]
    """[N] as the samples; None where an object has no answer of its own."""
    by_scene: Mapping[str, Sequence[CaptionedBox]]
    prompted: bool
    """Whether samples have prompt boxes; a caption without box is then about its prompt box."""

    @property
    def bring_boxes(self) -> bool:
        """Whether predictions say which box they are about."""
        return bool(self.by_scene) or any(item.boxes for item in self.by_object if item)


@dataclass(frozen=True)
class Candidates:
    """The caption that speaks for each object [N], and how well its box fits."""

    texts: Sequence[str | None]
    """None: nothing was predicted for the object."""
    overlaps: NDArray[np.float64]
    """IoU with the object; 1 where the producer has already applied the rule."""

    def at(self, threshold: float) -> list[str | None]:
        """Captions whose box overlaps enough; None for the others."""
        return [
            text if overlap >= threshold else None
            for text, overlap in zip(self.texts, self.overlaps, strict=True)
        ]


def sort_captions(samples: Sequence[Sample], predictions: Iterable[Prediction]) -> Captions:
    """Tell answers to samples from captioned boxes of scenes, by their ids.

    Raises:
        AnnotationError: an id is neither a sample's nor a scene's, or comes twice, or a scene has
            not one caption per box, or some captions bring their box and others do not.
    """
    refuse_repeats((sample.sample_id for sample in samples), "annotations")
    rows = {sample.sample_id: row for row, sample in enumerate(samples)}
    scenes = {sample.scene_id for sample in samples}
    by_object: list[Prediction | None] = [None] * len(samples)
    by_scene: dict[str, Sequence[CaptionedBox]] = {}
    for index, item in enumerate(predictions):
        name = item.sample_id
        if name not in rows and name.count("|") == 2:
            name = object_id(*name.split("|"))  # as Scan2Cap's evaluators call an object
        if name not in rows and name not in scenes:
            example = samples[0].sample_id if samples else "-"
            reason = (
                f"unknown id {name!r}: neither an annotated object nor a scene of these "
                f"{len(samples)} objects; their ids look like {example!r}"
            )
            raise AnnotationError("predictions", index, "id", reason)
        if name in by_scene or (name in rows and by_object[rows[name]] is not None):
            reason = f"{name!r} is predicted twice; give one prediction per id"
            raise AnnotationError("predictions", index, "id", reason)
        if name in rows:
            by_object[rows[name]] = _one_caption(item, index)
        else:
            by_scene[name] = _captioned(item, index)
    captions = Captions(by_object, by_scene, any(sample.box_input for sample in samples))
    if captions.bring_boxes:
        refuse_boxless(captions)
    return captions


def object_id(scene: str, number: str | int, name: str) -> str:
    """The id of the sample that is about one object."""
    return f"scan2cap_{scene}_{number}_{name}".replace(" ", "_")


def refuse_boxless(captions: Captions) -> None:
    """Check that every caption says which box it is about, or that samples have prompt boxes.

    Raises:
        AnnotationError: names the first caption that could be about any box.
    """
    for item in captions.by_object:
        if item is not None and item.text and not item.boxes and not captions.prompted:
            reason = "are missing; add the box that the caption is about"
            raise AnnotationError("predictions", item.sample_id, "boxes", reason)


def _one_caption(item: Prediction, index: int) -> Prediction:
    if item.texts:
        reason = "belong to the boxes of a scene; an object has one text"
        raise AnnotationError("predictions", index, "texts", reason)
    if len(item.boxes) > 1:
        reason = f"{len(item.boxes)} boxes for one object; a caption is about one box"
        raise AnnotationError("predictions", index, "boxes", reason)
    return item


def _captioned(item: Prediction, index: int) -> list[CaptionedBox]:
    if item.text is not None:
        reason = "belongs to one object; with a scene as id give boxes, and one of texts per box"
        raise AnnotationError("predictions", index, "text", reason)
    if len(item.texts) != len(item.boxes):
        reason = f"{len(item.texts)} captions for {len(item.boxes)} boxes; give one per box"
        raise AnnotationError("predictions", index, "texts", reason)
    return [CaptionedBox(box, text) for box, text in zip(item.boxes, item.texts, strict=True)]


def most_overlapping(
    samples: Sequence[Sample], captions: Captions, last_on_ties: bool = False
) -> Candidates:
    """For each object its own answer, else the scene's box that overlaps it most.

    An answer's box is the one it brings, else the sample's prompt box. Where the object's true box
    is not known, or neither the answer nor the samples carry boxes, its producer has applied the
    rule.
    """
    unboxed = 0.0 if captions.prompted or captions.bring_boxes else 1.0
    texts: list[str | None] = [None] * len(samples)
    overlaps = np.zeros(len(samples))
    for row, (sample, own) in enumerate(zip(samples, captions.by_object, strict=True)):
        scene = captions.by_scene.get(sample.scene_id, ())
        if own is not None:
            texts[row], overlaps[row] = own.text or "", _own_overlap(sample, own, unboxed)
        elif scene and sample.target_boxes:
            values = iou_matrix([item.box for item in scene], sample.target_boxes)[:, 0]
            flipped = values[::-1]
            best = len(scene) - 1 - int(np.argmax(flipped)) if last_on_ties else np.argmax(values)
            texts[row], overlaps[row] = scene[int(best)].text, values[int(best)]
    return Candidates(texts, overlaps)


def _own_overlap(sample: Sample, own: Prediction, unboxed: float) -> float:
    box = own.boxes[0] if own.boxes else sample.box_input
    if box is None:
        return unboxed
    return float(iou_matrix([box], sample.target_boxes)[0, 0]) if sample.target_boxes else 1.0


def scene_boxes(samples: Sequence[Sample], captions: Captions) -> dict[str, list[CaptionedBox]]:
    """All captioned boxes of each scene, those of single objects included."""
    refuse_boxless(captions)
    boxes: dict[str, list[CaptionedBox]] = defaultdict(list)
    for scene, items in captions.by_scene.items():
        boxes[scene] += items
    for row, own in enumerate(captions.by_object):
        box = own.boxes[0] if own is not None and own.boxes else samples[row].box_input
        if own is not None and box is not None:
            boxes[samples[row].scene_id].append(CaptionedBox(box, own.text or ""))
    return boxes


def scene_rows(samples: Sequence[Sample]) -> dict[str, list[int]]:
    """Sample numbers of each scene.

    Raises:
        AnnotationError: a sample has no true box.
    """
    rows: dict[str, list[int]] = defaultdict(list)
    for row, sample in enumerate(samples):
        if not sample.target_boxes:
            reason = "this protocol matches boxes, so every object needs its true box"
            raise AnnotationError("annotations", row, "box", reason)
        rows[sample.scene_id].append(row)
    return rows


def nearest_object(
    samples: Sequence[Sample], captions: Captions, threshold: float
) -> list[str | None]:
    """Scan2Cap's first evaluator: a box speaks for the object whose centre is nearest.

    It counts if it overlaps that object by more than the threshold (in float32); of several boxes
    the last one wins. (The evaluator itself has the assignment from the detector's votes.)
    """
    texts: list[str | None] = [None] * len(samples)
    boxes = scene_boxes(samples, captions)
    for scene, rows in scene_rows(samples).items():
        if scene not in boxes:
            continue
        truth = [samples[row].target_boxes[0] for row in rows]
        given = [item.box for item in boxes[scene]]
        centres, places = np.array(given)[:, :3], np.array(truth)[:, :3]
        distances = np.linalg.norm(centres[:, None] - places[None], axis=-1)
        overlaps = iou_matrix(given, truth, SCAN2CAP)
        for number, place in enumerate(distances.argmin(axis=1).tolist()):
            if overlaps[number, place] > threshold:
                texts[rows[place]] = boxes[scene][number].text
    return texts


def assigned(samples: Sequence[Sample], captions: Captions) -> tuple[Candidates, int]:
    """Scan2Cap's benchmark: boxes and objects of a scene are matched one to one.

    Returns the candidates and the number of predicted boxes in scenes with annotations. An object
    left over takes the scene's first box, whatever its overlap.
    """
    # Here and not above: SciPy takes a second to import, and the grid only wants benchmark names.
    from scipy.optimize import linear_sum_assignment

    texts: list[str | None] = [None] * len(samples)
    overlaps = np.zeros(len(samples))
    boxes, total = scene_boxes(samples, captions), 0
    for scene, rows in scene_rows(samples).items():
        if scene not in boxes:
            continue
        total += len(boxes[scene])
        truth = [samples[row].target_boxes[0] for row in rows]
        given = [item.box for item in boxes[scene]]
        matched = np.zeros(len(rows), dtype=int)
        prediction, objects = linear_sum_assignment(-enclosure_score(given, truth))
        matched[objects] = prediction
        values = iou_matrix(given, truth, SCAN2CAP)
        for place, row in enumerate(rows):
            texts[row] = boxes[scene][matched[place]].text
            overlaps[row] = values[matched[place], place]
    return Candidates(texts, overlaps), total


def enclosure_score(
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    rule: IouRule = DOUBLE,
) -> NDArray[np.float64]:
    """The benchmark's "generalised IoU" of boxes [N] and [M] -> [N, M].

    For boxes with z up its intersection is always 0, which leaves the volumes of both over the
    volume of the box round both, minus 1. The assignment is by this number.
    """
    low_a, high_a = bounds(first, rule)
    low_b, high_b = bounds(second, rule)
    volumes = np.prod(high_a - low_a, axis=-1)[:, None] + np.prod(high_b - low_b, axis=-1)[None]
    low = np.minimum(low_a[:, None], low_b[None])
    high = np.maximum(high_a[:, None], high_b[None])
    enclosing = np.prod(high - low, axis=-1)
    score: NDArray[np.float64] = np.where(enclosing > 0, volumes / np.maximum(enclosing, 1e-12), 0)
    return score - 1
