"""Which benchmarks are evaluated, on which files, in which words."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from threedrs_components.benchmarks.prompts import PromptConfig
from threedrs_platform.config import Config

BenchmarkName = Literal["scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d", "vsibench"]
TextMetric = Literal["bleu1", "bleu2", "bleu3", "bleu4", "meteor", "rouge_l", "cider"]


class BenchmarksConfig(Config):
    """Training tasks and evaluations of a student."""

    names: tuple[BenchmarkName, ...] = Field(
        default=("scanrefer", "scan2cap", "scanqa"), min_length=1
    )
    split: str = "val"
    """The split that is evaluated; training always reads "train"."""
    annotations: str | None = None
    """Folder with `annotations/` and `proposals/`; the scenes' own folder if not given."""
    box_file: str | None = None
    """Boxes of annotated objects (`scannet_train_gt_box.json` form), if the scenes hold none."""
    label_map: str | None = None
    """`scannetv2-labels.combined.tsv`; decides unique / multiple where the annotations do not."""
    prompts: PromptConfig = PromptConfig()
    text_metrics: tuple[TextMetric, ...] = ("bleu4", "rouge_l", "cider")
    """Of captions and answers; "meteor" needs the `eval` extra."""
