"""Cross-entropy of text."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor
from torch.nn.functional import cross_entropy

from threedrs_components.objectives.fused_cross_entropy import fused_cross_entropy
from threedrs_components.objectives.objective import Objective, StudentPass
from threedrs_components.objectives.text_mask import LabelledTokens, LearnedTokens
from threedrs_components.students.batches import SceneBatch
from threedrs_components.students.tokenizer import Encoded, StudentTokenizer

if TYPE_CHECKING:
    from threedrs_components.objectives.text import TextConfig


class Text(Objective):
    """Sum over questions of the cross-entropy of their learned tokens, over its normaliser."""

    def __init__(self, settings: TextConfig, tokenizer: StudentTokenizer) -> None:
        super().__init__(settings)
        self._fused = settings.fused
        self._learned = LearnedTokens(tokenizer, settings.mask)
        self._labelled = LabelledTokens(tokenizer) if settings.normaliser == "released" else None

    def mark(self, question: Encoded) -> Encoded:
        """As the mask says, to be divided by what the normaliser counts."""
        divisor = None if self._labelled is None else self._labelled(question)
        return replace(question, is_answer=self._learned(question), divisor=divisor)

    def is_asked(self, batch: SceneBatch) -> bool:
        """Whether a token of the batch is learned."""
        return len(batch.answer_tokens) > 0

    def forward(self, student_pass: StudentPass, whole: int) -> tuple[Tensor, dict[str, float]]:
        """Logits exist at learned tokens only."""
        batch = student_pass.batch
        student, states = student_pass.student, student_pass.output.states[batch.answer_tokens]
        if self._fused:
            losses = fused_cross_entropy(student.narrow_logits(states), batch.answer_ids)
            return (losses * batch.answer_weights).sum() / whole, {}
        logits = student.logits(states)
        return text_loss(logits, batch.answer_ids, batch.answer_weights) / whole, {}


def text_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum over tokens of their cross-entropy, in float32.

    Args:
        logits: [A, V] at the positions before the learned tokens; only those are ever computed.
        targets: [A] int64, the learned tokens.
        weights: [A]; one over the normaliser of the token's question.
    """
    return (cross_entropy(logits.float(), targets, reduction="none") * weights).sum()
