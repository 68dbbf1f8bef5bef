"""Multi3DRefer: its halves and its protocols."""

from __future__ import annotations

from typing import ClassVar, Literal

from threedrs_components.benchmarks.benchmark import Benchmark
from threedrs_components.benchmarks.m3dref import M3DRefItem, m3dref_format
from threedrs_components.benchmarks.multi3drefer.loader import TYPES, Multi3DReferLoader
from threedrs_components.benchmarks.multi3drefer.scorer import Multi3DReferScorer
from threedrs_components.benchmarks.threedrs_lines import ScoredBoxesLine, result_lines


class _M3DRefItem(M3DRefItem):
    def name(self, kind: str, scene: str) -> str:
        return f"{kind}_{scene}_{self.ann_id}"


class Multi3DRefer(Benchmark):
    """Find all objects a sentence describes: none, one or several."""

    kind: Literal["multi3drefer"] = "multi3drefer"
    loader = Multi3DReferLoader
    scorer = Multi3DReferScorer
    protocols: ClassVar = {
        "3drs": "IoU in float64, assignment in float32; zero-target queries by their empty truth",
        "m3dref": "M3DRef-CLIP: IoU in float32; zero-target queries by their type, repeats "
        "collapse",
    }
    takes = ("boxes", "scores")
    types = TYPES
    formats = (result_lines(ScoredBoxesLine), m3dref_format(_M3DRefItem))
