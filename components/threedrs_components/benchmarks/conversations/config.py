"""Conversations: questions of your own, in the forms of LLaVA and ms-swift."""

from __future__ import annotations

from typing import Literal

from threedrs_components.benchmarks.conversations.loader import ConversationsLoader
from threedrs_components.benchmarks.question_set import QuestionSet


class Conversations(QuestionSet):
    """Questions to learn."""

    kind: Literal["conversations"] = "conversations"
    loader = ConversationsLoader
