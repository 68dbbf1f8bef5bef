"""Which benchmarks are evaluated, on which files, in which words."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt

from threedrs_components.benchmarks.prompts import PromptConfig
from threedrs_platform.config import PLACE, Config

BenchmarkName = Literal["scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d", "vsibench"]
Candidates = Literal["proposals", "ground_truth"]
TextMetric = Literal["bleu1", "bleu2", "bleu3", "bleu4", "meteor", "rouge_l", "cider"]
DEFAULT_METRICS: tuple[TextMetric, ...] = ("bleu4", "rouge_l", "cider")
"""What a grid measures of captions and answers; METEOR needs the `eval` extra."""


class BenchmarksConfig(Config):
    """Training tasks and evaluations of a student."""

    names: tuple[BenchmarkName, ...] = Field(
        default=("scanrefer", "scan2cap", "scanqa"), min_length=1
    )
    training: tuple[BenchmarkName, ...] | None = None
    """Those whose training split is learned; None is all of `names`."""
    split: str = "val"
    """The split that is evaluated; training always reads "train"."""
    splits: dict[BenchmarkName, str] = Field(default_factory=dict)
    """Other splits for single benchmarks, e.g. {sqa3d: test}."""
    protocols: dict[BenchmarkName, str] = Field(default_factory=dict)
    """How a benchmark is scored, where it is not by its first protocol."""
    candidates: Candidates = "proposals"
    """Boxes among which an evaluated scene is grounded. ground_truth is an oracle: true boxes are
    easier than any published setting, so nothing falls back on them."""
    max_new_tokens: PositiveInt | None = 64
    """Longest answer that is decoded, where a benchmark has no lower limit of its own; None is
    the benchmark's released limit, 512 for most."""
    annotations: Annotated[str | None, PLACE] = None
    """Folder with `annotations/` and `proposals/`; the scenes' own folder if not given."""
    box_file: Annotated[str | None, PLACE] = None
    """Boxes of annotated objects (`scannet_train_gt_box.json` form), if the scenes hold none."""
    label_map: Annotated[str | None, PLACE] = None
    """`scannetv2-labels.combined.tsv`; decides unique / multiple where the annotations do not."""
    prompts: PromptConfig = PromptConfig()
    text_metrics: tuple[TextMetric, ...] = DEFAULT_METRICS
    """Of captions and answers; "meteor" needs the `eval` extra."""

    def split_of(self, name: BenchmarkName) -> str:
        """The split of one benchmark that is evaluated."""
        return self.splits.get(name, self.split)

    def asked(self) -> BenchmarksConfig:
        """Without what decides answers or scores, but no sample."""
        return self._with_defaults("max_new_tokens", "protocols", "text_metrics")

    def scored(self) -> BenchmarksConfig:
        """Without what decides what is learned or answered, but no score of it."""
        return self._with_defaults("max_new_tokens", "training")

    def _with_defaults(self, *names: str) -> BenchmarksConfig:
        fields = type(self).model_fields
        update = {name: fields[name].get_default(call_default_factory=True) for name in names}
        return self.model_copy(update=update)

    def trained(self) -> tuple[BenchmarkName, ...]:
        """Benchmarks whose training split is learned."""
        return self.names if self.training is None else self.training
