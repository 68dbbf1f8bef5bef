"""What a benchmark is made of: where its files are, how they read, how answers are scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from threedrs_components.benchmarks.annotation_files import (
    AnnotationFiles,
    AnnotationFolder,
    Parsed,
)
from threedrs_components.benchmarks.config import DEFAULT_METRICS
from threedrs_components.benchmarks.llava_style import is_llava_style, llava_samples
from threedrs_components.benchmarks.prompts import PromptConfig
from threedrs_components.benchmarks.tally import Evaluation
from threedrs_platform.records import Metric, Prediction, Sample, SampleScore


@dataclass(frozen=True)
class BenchmarkKind:
    """One benchmark: its name, its scoring protocols and its three functions."""

    name: str
    protocols: Mapping[str, str]
    """Name to one line of explanation; the first is the default."""
    locate: Callable[[AnnotationFolder, str], AnnotationFiles]
    """Files of a split in a folder."""
    read: Callable[[Parsed, AnnotationFiles, PromptConfig, str], list[Sample]]
    """Samples of a split from parsed files."""
    evaluate: Callable[[Sequence[Sample], Sequence[Prediction], str, Sequence[str]], Evaluation]
    """Samples, predictions, protocol and text metrics to metrics."""
    takes: tuple[str, ...] = ("text",)
    """What a prediction of our own format may hold."""
    types: tuple[str, ...] = ()
    """The question types of the field's tables, where records name theirs."""
    uses_boxes: bool = False
    """Whether a file of boxes by scene may stand beside the annotations."""
    uses_label_map: bool = False
    """Whether ScanNet's label table decides something."""
    record_files: int = 1
    """How many annotation files a split has at most."""
    frames_only: bool = False
    """Asked without 3D coordinates: the authors' VSI-Bench model sees 2D frames."""
    max_new_tokens: int = 512
    """Of a greedily decoded answer, in the released evaluation."""

    @property
    def default_protocol(self) -> str:
        """The protocol used where none is named."""
        return next(iter(self.protocols))

    def misfit(self, prediction: Prediction) -> tuple[str, str] | None:
        """Field and reason where a prediction is not of the kind this benchmark compares."""
        holds = [name for name in ("text", "texts", "boxes", "scores") if getattr(prediction, name)]
        takes = f"{self.name} takes {', '.join(self.takes)}"
        for name in holds:
            if name not in self.takes:
                return name, f"does not belong here; {takes}"
        if "text" in self.takes and prediction.text is None and not prediction.texts:
            return "text", f"is missing; {takes}"
        return None

    def samples(self, files: AnnotationFiles, prompts: PromptConfig, split: str) -> list[Sample]:
        """Samples of the files, raw or in the processed conversations' form.

        Raises:
            AnnotationError: names file, record and field.
        """
        parsed = files.values()
        if len(parsed) == 1 and is_llava_style(parsed[0][1]):
            return llava_samples(parsed[0][1], parsed[0][0], self.name, prompts, split)
        return self.read(parsed, files, prompts, split)


@dataclass(frozen=True)
class AnnotatedBenchmark:
    """A benchmark over the annotation files of a folder; keeps the `Benchmark` contract."""

    kind: BenchmarkKind
    folder: AnnotationFolder
    prompts: PromptConfig = field(default_factory=PromptConfig)
    protocol: str = ""
    """The kind's default if empty."""
    text_metrics: tuple[str, ...] = DEFAULT_METRICS

    def samples(self, split: str, as_evaluation: bool = False) -> list[Sample]:
        """All samples of a split, in file order; of "train" on request as evaluations ask them.

        Raises:
            AnnotationError: names file, record and field of what is wrong.
        """
        form = "evaluation" if as_evaluation else split
        return self.kind.samples(self.kind.locate(self.folder, split), self.prompts, form)

    def score(
        self, samples: Sequence[Sample], predictions: Sequence[Prediction]
    ) -> tuple[list[Metric], list[SampleScore]]:
        """Metrics over all samples, and per-sample scores."""
        protocol = self.protocol or self.kind.default_protocol
        return self.kind.evaluate(samples, predictions, protocol, self.text_metrics).flat()
