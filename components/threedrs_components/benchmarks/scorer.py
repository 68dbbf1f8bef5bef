"""The half of a benchmark that judges: samples and predictions in, an evaluation out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

from threedrs_components.benchmarks.tally import Evaluation
from threedrs_platform.config import Config
from threedrs_platform.records import Prediction, Sample

TextMetric = Literal["bleu1", "bleu2", "bleu3", "bleu4", "meteor", "rouge_l", "cider"]
DEFAULT_METRICS: tuple[TextMetric, ...] = ("bleu4", "rouge_l", "cider")
"""What a grid measures of captions and answers; METEOR needs the `eval` extra."""


class Scorer(Config):
    """Scores predictions for one kind of benchmark, by one of its protocols."""

    kind: str = ""
    protocol: str
    """One of those that the benchmark lists."""
    text_metrics: tuple[TextMetric, ...] = DEFAULT_METRICS
    """Of captions and answers; benchmarks without any ignore it."""

    compares_texts: ClassVar[bool] = False
    """Whether text metrics are measured at all."""

    @property
    def uses_meteor(self) -> bool:
        """Whether METEOR is measured, whose numbers depend on data of other packages."""
        return self.compares_texts and "meteor" in self.text_metrics

    def with_meteor(self) -> Self:
        """The same with METEOR among the text metrics."""
        metrics = dict.fromkeys((*self.text_metrics, "meteor"))
        return self.model_copy(update={"text_metrics": tuple(metrics)})

    @abstractmethod
    def evaluate(self, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> Evaluation:
        """Metrics over all samples, and per-sample scores; a missing prediction is wrong.

        Raises:
            AnnotationError: a prediction belongs to no sample, or is not of the kind compared here.
        """

    def evaluate_rows(self, samples: Sequence[Sample], rows: Sequence[Prediction]) -> Evaluation:
        """As `evaluate`, for files that their evaluator walks row by row: there a sample may have
        several predictions, which count as that evaluator counts them.

        Raises:
            AnnotationError: as `evaluate`.
        """
        return self.evaluate(samples, rows)

    @staticmethod
    def chosen_boxes(prediction: Prediction) -> tuple[tuple[float, ...], ...]:
        """The boxes that a prediction stands for; candidates with scores are none."""
        return () if prediction.scores else prediction.boxes
