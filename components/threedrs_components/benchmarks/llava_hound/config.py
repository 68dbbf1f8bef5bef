"""LLaVA-Hound: questions about videos of the web, which keep a student general."""

from __future__ import annotations

from typing import Literal

from threedrs_components.benchmarks.llava_hound.loader import LlavaHoundLoader
from threedrs_components.benchmarks.question_set import QuestionSet


class LlavaHound(QuestionSet):
    """Questions to learn."""

    kind: Literal["llava_hound"] = "llava_hound"
    loader = LlavaHoundLoader
