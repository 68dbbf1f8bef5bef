"""VSI-Bench: its halves, its protocols, and how its authors ask."""

from __future__ import annotations

from typing import ClassVar, Literal

from threedrs_components.benchmarks.benchmark import Benchmark
from threedrs_components.benchmarks.vsibench.loader import VSIBenchLoader
from threedrs_components.benchmarks.vsibench.scorer import VSIBenchScorer


class VSIBench(Benchmark):
    """Spatial questions about a video."""

    kind: Literal["vsibench"] = "vsibench"
    loader = VSIBenchLoader
    scorer = VSIBenchScorer
    protocols: ClassVar = {
        "official": "thinking-in-space: letter or number before the first space",
        "lmms_eval": "newer lmms-eval: a number anywhere in the text, also in words; six digits",
    }
    splits: ClassVar = ("test_debiased",)
    frames_only = True
    max_new_tokens = 16
