"""The loader of llava_hound."""

from __future__ import annotations

from typing import Literal

from threedrs_components.benchmarks.question_set import QuestionSetLoader


class LlavaHoundLoader(QuestionSetLoader):
    """Its questions."""

    kind: Literal["llava_hound"] = "llava_hound"
