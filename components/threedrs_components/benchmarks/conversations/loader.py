"""The loader of conversations."""

from __future__ import annotations

from typing import Literal

from threedrs_components.benchmarks.question_set import QuestionSetLoader


class ConversationsLoader(QuestionSetLoader):
    """Their questions."""

    kind: Literal["conversations"] = "conversations"
