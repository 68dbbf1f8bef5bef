"""One benchmark as plans and people see it: its two halves, and facts that no step computes with.

Steps never import it. They are told the module of the half they need, so that a changed scorer
makes no new samples, and a changed fact makes nothing again.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import ClassVar

from threedrs_components.benchmarks.evaluator_format import EvaluatorFormat
from threedrs_components.benchmarks.loader import Loader
from threedrs_components.benchmarks.scorer import Scorer
from threedrs_platform.config import Config
from threedrs_platform.records import Prediction, Sample

BOX_NUMBERS = 6
"""Centre and full size."""


class Benchmark(Config):
    """One kind of benchmark."""

    kind: str = ""
    loader: ClassVar[type[Loader]]
    """The half that turns annotations into samples."""
    scorer: ClassVar[type[Scorer]]
    """The half that turns samples and predictions into metrics."""
    protocols: ClassVar[Mapping[str, str]]
    """Ways to score, with one line of explanation each; the first is the default."""
    takes: ClassVar[tuple[str, ...]] = ("text",)
    """What a prediction of our own format may hold."""
    one_box: ClassVar[bool] = False
    """Whether a single box is the answer, where boxes are."""
    types: ClassVar[tuple[str, ...]] = ()
    """The question types of the field's tables, where records name theirs."""
    splits: ClassVar[tuple[str, ...]] = ()
    """Splits of its annotations beside train, val and test."""
    formats: ClassVar[tuple[EvaluatorFormat, ...]] = ()
    """Prediction files of other evaluators that are understood, besides our own."""
    uses_label_map: ClassVar[bool] = False
    """Whether ScanNet's label table decides something."""
    record_files: ClassVar[int] = 1
    """How many annotation files a split has at most."""
    frames_only: ClassVar[bool] = False
    """Asked without 3D coordinates: the authors' VSI-Bench model sees 2D frames."""
    max_new_tokens: ClassVar[int] = 512
    """Of a greedily decoded answer, in the released evaluation."""

    @property
    def about_boxes(self) -> bool:
        """Whether a student chooses among boxes or is pointed at one, so that an evaluated scene
        needs candidates, and a file of true boxes may stand beside the annotations."""
        return "boxes" in self.takes

    @property
    def default_protocol(self) -> str:
        """The protocol used where none is named."""
        return next(iter(self.protocols))

    def misfit(self, prediction: Prediction) -> tuple[str, str] | None:
        """Field and reason where a prediction is not of the kind this benchmark compares."""
        holds = [name for name in ("text", "texts", "boxes", "scores") if getattr(prediction, name)]
        takes = f"{self.kind} takes {', '.join(self.takes)}"
        for name in holds:
            if name not in self.takes:
                return name, f"does not belong here; {takes}"
        if "text" in self.takes and prediction.text is None and not prediction.texts:
            return "text", f"is missing; {takes}"
        return None

    def unfit(self, sample: Sample) -> tuple[str, str] | None:
        """Field and reason where a sample that was given, not read, has no truth to compare."""
        if "text" in self.takes and not sample.answers:
            return "answers", "is empty; at least one reference belongs here"
        if self.one_box and not sample.target_boxes:
            return "target_boxes", "is empty; the box to find belongs here"
        boxes = {"target_boxes": sample.target_boxes, "box_input": (sample.box_input,)}
        for name, own in boxes.items():
            for box in own:
                if box is not None and (len(box) != BOX_NUMBERS or not all(map(isfinite, box))):
                    return name, f"holds {list(box)}; a box is {BOX_NUMBERS} finite numbers"
        return None
