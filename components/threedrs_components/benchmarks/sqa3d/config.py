"""SQA3D: its halves and its protocols."""

from __future__ import annotations

from typing import ClassVar, Literal

from threedrs_components.benchmarks.benchmark import Benchmark
from threedrs_components.benchmarks.sqa3d.loader import TYPES, SQA3DLoader
from threedrs_components.benchmarks.sqa3d.scorer import SQA3DScorer
from threedrs_components.benchmarks.threedrs_lines import TextLine, result_lines


class SQA3D(Benchmark):
    """Answer a question from a described situation in a scene."""

    kind: Literal["sqa3d"] = "sqa3d"
    loader = SQA3DLoader
    scorer = SQA3DScorer
    protocols: ClassVar = {
        "3drs": "both sides cleaned, exact match",
        "leo": "both sides cleaned, exact match, and refined match by containment",
        "chat_scene": "as leo, without final dot; an empty answer matches nothing",
    }
    types = TYPES
    formats = (result_lines(TextLine),)
    record_files = 2
