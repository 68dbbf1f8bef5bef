"""Answers of a trained student: every scene's prefix once, all its questions behind it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from threedrs_components.scenes.prepared import PreparedScene, PreparedScenes
from threedrs_components.students.passes import Prefill
from threedrs_components.students.shared_prefix import restarting
from threedrs_components.students.student import Student
from threedrs_components.students.tokenizer import COORD, GROUND
from threedrs_components.training.batches import (
    Question,
    SceneBatch,
    collate,
    proposal_candidates,
    region_of,
)
from threedrs_platform.records import Prediction, Sample

MAX_NEW_TOKENS = 64
PREFIX = -1
"""Owner of cached tokens that every question may see."""


def predict(
    student: Student,
    prepared: PreparedScenes,
    samples: Iterable[Sample],
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> Iterator[Prediction]:
    """Answer all samples, scene by scene in sorted order.

    Raises:
        SceneError: a sample's scene was not prepared.
    """
    by_scene: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_scene[sample.scene_id].append(sample)
    for scene_id in sorted(by_scene):
        yield from predict_scene(student, prepared[scene_id], by_scene[scene_id], max_new_tokens)


@torch.no_grad()
def predict_scene(
    student: Student,
    scene: PreparedScene,
    samples: Sequence[Sample],
    max_new_tokens: int = MAX_NEW_TOKENS,
) -> list[Prediction]:
    """Answer one scene's samples in their order.

    A grounding sample gets a cosine per proposal and one for "no object"; a text sample is decoded
    greedily; a caption whose object has no proposal gets an empty text, by the benchmark's rule.
    """
    answerable = [s for s in samples if COORD not in s.prompt or s.box_input is not None]
    found: dict[str, Prediction] = {}
    if answerable:
        for prediction in _answer(student, scene, answerable, max_new_tokens):
            found[prediction.sample_id] = prediction
    return [
        found.get(sample.sample_id, Prediction(sample.sample_id, text="")) for sample in samples
    ]


def _answer(
    student: Student, scene: PreparedScene, samples: Sequence[Sample], max_new_tokens: int
) -> Iterator[Prediction]:
    candidates = proposal_candidates(scene)
    questions = [
        Question(
            sample,
            student.tokenizer.encode(sample.prompt, GROUND if sample.kind == "ground" else None),
            region_of(sample, candidates),
        )
        for sample in samples
    ]
    tokenizer, blind = student.tokenizer, student.config.blind
    batch = collate([scene], [questions], [candidates], tokenizer, blind).to(student.device)
    prefill = student.prefill(batch.frames)
    decoding = Continuation(student, prefill, batch)
    if len(batch.ground_tokens):
        yield from _grounded(student, prefill, batch, decoding.states, questions)
    asked = [row for row, item in enumerate(questions) if item.sample.kind == "text"]
    for row, ids in zip(asked, decoding.greedy(asked, max_new_tokens), strict=True):
        yield Prediction(questions[row].sample.sample_id, text=tokenizer.decode(ids))


def _grounded(
    student: Student,
    prefill: Prefill,
    batch: SceneBatch,
    states: Tensor,
    questions: Sequence[Question],
) -> Iterator[Prediction]:
    features = student.object_features(
        batch.candidate_weights, batch.candidate_boxes, prefill.output, batch.candidate_patches
    )
    objects = student.grounding.objects(features)
    scores = student.grounding(states[batch.ground_tokens], objects, batch.ground_scenes)
    boxes = tuple(tuple(box) for box in batch.candidate_boxes[0].tolist())
    samples = [item.sample for item in questions if item.sample.kind == "ground"]
    for sample, row in zip(samples, scores.tolist(), strict=True):
        yield Prediction(sample.sample_id, boxes=boxes, scores=tuple(row))


class Continuation:
    """Questions on one scene's cache, and the tokens decoded after them."""

    def __init__(self, student: Student, prefill: Prefill, batch: SceneBatch) -> None:
        self.student, self.prefill = student, prefill
        self.lengths = torch.tensor(batch.layout.lengths[0], device=student.device)
        self.owners = torch.full((prefill.length,), PREFIX, device=student.device)
        embedded = student.embed_questions(batch.ids, batch.regions, prefill.output.vision)
        owners = torch.repeat_interleave(
            torch.arange(len(self.lengths), device=student.device), self.lengths
        )
        offsets = restarting(batch.layout.lengths[0]).to(student.device)
        self.states = self._step(embedded, owners, offsets)
        """[N, C] at the question tokens"""

    def greedy(self, rows: Sequence[int], max_new_tokens: int) -> list[list[int]]:
        """The likeliest next token, again and again, for all these questions together."""
        decoded: list[list[int]] = [[] for _ in rows]
        last = self.lengths.cumsum(0) - 1
        active = list(range(len(rows)))
        states = self.states[last[list(rows)]]
        for step in range(max_new_tokens):
            tokens = self.student.logits(states).argmax(-1)
            for place, token in zip(active, tokens.tolist(), strict=True):
                decoded[place].append(token)
            going = tokens != self.student.tokenizer.end_id
            active = [place for place, goes in zip(active, going.tolist(), strict=True) if goes]
            if not active or step + 1 == max_new_tokens:
                break
            owners = torch.tensor([rows[place] for place in active], device=self.owners.device)
            embedded = self.student.embed(tokens[going])
            states = self._step(embedded, owners, self.lengths[owners] + step)
        return decoded

    def _step(self, embedded: Tensor, owners: Tensor, offsets: Tensor) -> Tensor:
        """States [n, C] of further tokens; each sees the prefix and its own question so far."""
        own = torch.cat([self.owners, owners])
        seen = (own == PREFIX)[None] | (own[None] == owners[:, None])
        late = torch.arange(len(own), device=own.device)[None] - len(self.owners)
        seen &= late <= torch.arange(len(owners), device=own.device)[:, None]
        self.owners = own
        positions = self.prefill.next_position + offsets
        return self.student.continue_from(self.prefill, embedded, positions, seen)
