"""ReVSI: its halves, its protocol, and how its authors ask."""

from __future__ import annotations

from typing import ClassVar, Literal

from threedrs_components.benchmarks.benchmark import Benchmark
from threedrs_components.benchmarks.revsi.loader import ReVSILoader
from threedrs_components.benchmarks.revsi.scorer import ReVSIScorer


class ReVSI(Benchmark):
    """Spatial questions whose truth was checked for every number of frames."""

    kind: Literal["revsi"] = "revsi"
    loader = ReVSILoader
    scorer = ReVSIScorer
    protocols: ClassVar = {"lmms_eval": "letter or number before the first space; seven tasks"}
    splits: ClassVar = ("16_frame", "32_frame", "64_frame", "all_frame")
    frames_only = True
    max_new_tokens = 16
