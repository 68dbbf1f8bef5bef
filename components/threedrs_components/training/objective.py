"""The whole training objective as one module: a micro-batch in, a scalar and its parts out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from threedrs_components.objectives.alignment import AlignmentHead
from threedrs_components.objectives.config import (
    AlignmentConfig,
    CorrespondenceConfig,
    GroundingConfig,
    TextConfig,
)
from threedrs_components.objectives.correspondence import correspondence_loss
from threedrs_components.objectives.grounding import grounding_loss
from threedrs_components.objectives.text import text_loss
from threedrs_components.scenes.pairs import PairMatrix
from threedrs_components.students.passes import StudentOutput
from threedrs_components.students.student import Student
from threedrs_components.training.batches import SceneBatch
from threedrs_components.training.data import MicroBatch


@dataclass(frozen=True)
class Objectives:
    """Weights and choices of the four losses."""

    alignment: AlignmentConfig = field(default_factory=lambda: AlignmentConfig(weight=0.0))
    correspondence: CorrespondenceConfig = field(default_factory=CorrespondenceConfig)
    grounding: GroundingConfig = field(default_factory=GroundingConfig)
    text: TextConfig = field(default_factory=TextConfig)


@dataclass(frozen=True)
class Totals:
    """What a step's sums are divided by: its questions and scenes over all workers and rounds."""

    questions: int
    scenes: int


class TrainingModule(nn.Module):
    """Student, alignment head, and the sum of their losses.

    Task losses are means over the step's questions, 3D losses means over its scenes, so with one
    question per scene the sum is the released one, and more questions only share the prefix.
    """

    def __init__(
        self,
        student: Student,
        objectives: Objectives,
        teacher_width: int | None,
        statistics: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.student, self.objectives = student, objectives
        self.runs_every_head = False
        """Also those that a batch has no question for: workers that gather sharded weights
        together must gather the same ones, in one order."""
        self.alignment: AlignmentHead | None = (
            None
            if teacher_width is None
            else AlignmentHead(objectives.alignment, student.width, teacher_width, statistics)
        )

    @property
    def layers(self) -> tuple[int, ...]:
        """Hidden states that some part needs."""
        layers = {-1}
        if self.alignment is not None:
            layers.update(self.objectives.alignment.layers)
        if self.objectives.correspondence.weight > 0:
            layers.add(self.objectives.correspondence.layer)
        return tuple(sorted(layers))

    @property
    def alignment_parts(self) -> tuple[str, ...]:
        """Names of the reported losses of single layers."""
        return () if self.alignment is None else self.alignment.part_names

    def forward(self, micro: MicroBatch, totals: Totals) -> tuple[Tensor, dict[str, float]]:
        """This micro-batch's share of the step's loss, and of each part."""
        device = self.student.device
        batch = micro.batch.to(device)
        output = self.student(batch.frames, batch.layout, batch.ids, batch.regions, self.layers)
        losses: dict[str, Tensor] = {}
        layout = batch.layout
        parts = {"tokens": float(layout.scenes * layout.prefix + len(batch.ids))}
        if len(batch.answer_tokens) or self.runs_every_head:
            losses["text"] = self._text(batch, output) / totals.questions
        if len(batch.ground_tokens) or self.runs_every_head:
            scores = self._scores(batch, output)
            losses["grounding"] = self._grounding(batch, scores) / totals.questions
            parts |= grounding_counts(scores, batch)
        if micro.teacher is not None and self.alignment is not None:
            losses["alignment"], layers = self._alignment(output, micro.teacher.to(device), totals)
            parts |= layers
        if micro.pairs:
            losses["correspondence"] = self._correspondence(output, micro.pairs) / totals.scenes
        weighted = [self._weight(name) * loss for name, loss in losses.items()]
        parts |= {f"loss/{name}": float(loss.detach()) for name, loss in losses.items()}
        if not weighted:
            return output.states.sum() * 0.0, parts
        return torch.stack(weighted).sum(), parts

    def _weight(self, name: str) -> float:
        weight: float = getattr(self.objectives, name).weight
        return weight

    def _text(self, batch: SceneBatch, output: StudentOutput) -> Tensor:
        """Sum over questions of the mean cross-entropy of their learned tokens."""
        logits = self.student.logits(output.states[batch.answer_tokens])
        return text_loss(logits, batch.answer_ids, batch.answer_weights)

    def _scores(self, batch: SceneBatch, output: StudentOutput) -> Tensor:
        features = self.student.object_features(
            batch.candidate_weights, batch.candidate_boxes, output, batch.candidate_patches
        )
        candidates = self.student.grounding.objects(features)
        queries = output.states[batch.ground_tokens]
        scores: Tensor = self.student.grounding(queries, candidates, batch.ground_scenes)
        return scores

    def _grounding(self, batch: SceneBatch, scores: Tensor) -> Tensor:
        """Sum over questions; zero where there is none."""
        if not len(scores):
            return scores.sum()
        temperature = self.objectives.grounding.temperature
        mean = grounding_loss(scores, batch.positives, batch.present, temperature)
        return mean * len(batch.ground_tokens)

    def _alignment(
        self, output: StudentOutput, teacher: Tensor, totals: Totals
    ) -> tuple[Tensor, dict[str, float]]:
        """The loss, and that of each layer."""
        assert self.alignment is not None
        hidden = [output.hidden[layer] for layer in self.objectives.alignment.layers]
        loss, layers = self.alignment(hidden, teacher)
        share = teacher.shape[0] / totals.scenes
        return loss * share, {name: value * share for name, value in layers.items()}

    def _correspondence(self, output: StudentOutput, pairs: Sequence[PairMatrix]) -> Tensor:
        config = self.objectives.correspondence
        hidden = output.hidden[config.layer].flatten(1, 3)
        losses = [
            correspondence_loss(
                states, scene.to(states.device), negative_weight=config.negative_weight
            )[0]
            for states, scene in zip(hidden, pairs, strict=True)
        ]
        return torch.stack(losses).sum()


def grounding_counts(scores: Tensor, batch: SceneBatch) -> dict[str, float]:
    """How many grounding questions the best-scored candidate answers, and how many there are."""
    best = scores.detach().masked_fill(~batch.present, -torch.inf).argmax(dim=1, keepdim=True)
    correct = batch.positives.gather(1, best).sum()
    return {"grounding/correct": float(correct), "grounding/asked": float(len(scores))}
