"""SPAR-7M: spatial questions about one or more views, with marks painted on them."""

from __future__ import annotations

from typing import Literal

from threedrs_components.benchmarks.question_set import QuestionSet
from threedrs_components.benchmarks.spar.loader import SparLoader


class Spar(QuestionSet):
    """Questions to learn."""

    kind: Literal["spar"] = "spar"
    loader = SparLoader
