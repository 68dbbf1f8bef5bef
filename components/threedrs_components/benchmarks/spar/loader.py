"""The loader of spar."""

from __future__ import annotations

from typing import Literal

from threedrs_components.benchmarks.question_set import QuestionSetLoader


class SparLoader(QuestionSetLoader):
    """Its questions."""

    kind: Literal["spar"] = "spar"
