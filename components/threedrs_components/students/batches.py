"""Scenes and their questions as one batch: each visual prefix once, questions packed behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from threedrs_components.scenes.prepared import PreparedScene
from threedrs_components.students.passes import Frames, Regions
from threedrs_components.students.shared_prefix import PrefixLayout
from threedrs_components.students.tokenizer import COORD, GROUND, Encoded, StudentTokenizer
from threedrs_platform.errors import DataError
from threedrs_platform.records import Sample


@dataclass(frozen=True)
class Question:
    """One sample as tokens, with what its answer is checked against."""

    sample: Sample
    encoded: Encoded
    """Its answer tokens are those that the text loss learns."""
    region: int | None = None
    """Candidate that the prompt's `<coord>` points at."""
    positives: tuple[int, ...] = ()
    """Rows of target candidates; empty means that "no object" is right."""


@dataclass(frozen=True)
class Candidates:
    """Boxes among which grounding chooses. K boxes of one scene."""

    boxes: Tensor
    """[K, 6]"""
    weights: Tensor
    """[K, F, P, P]"""
    patches: Tensor | None = None
    """[K, F, R, R] the same for vision patches, where scenes were prepared with them"""


@dataclass(frozen=True)
class SceneBatch:
    """S scenes with their questions. N question tokens, A answer tokens, G grounding questions."""

    frames: Frames
    layout: PrefixLayout
    ids: Tensor
    """[N] int64"""
    regions: Regions
    candidate_boxes: Tensor
    """[S, K, 6], padded with zeros"""
    candidate_weights: Tensor
    """[S, K, F, P, P], padded with zeros"""
    answer_tokens: Tensor
    """[A] index into N of the token before each answer token"""
    answer_ids: Tensor
    """[A] what must come next"""
    answer_weights: Tensor
    """[A] one over what the loss of its question is divided by"""
    ground_tokens: Tensor
    """[G] index into N of `<ground>`"""
    ground_scenes: Tensor
    """[G] scene of the batch"""
    positives: Tensor
    """[G, K + 1] bool, "no object" last"""
    present: Tensor
    """[G, K + 1] bool: candidate exists"""
    candidate_patches: Tensor | None = None
    """[S, K, F, R, R], padded with zeros"""

    def to(self, device: torch.device) -> SceneBatch:
        """The same on another device."""
        return self._mapped(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> SceneBatch:
        """The same in memory that a GPU copies from while it computes."""
        return self._mapped(Tensor.pin_memory)

    def _mapped(self, change: Callable[[Tensor], Tensor]) -> SceneBatch:
        changed: dict[str, Any] = {
            item.name: change(value) if isinstance(value, Tensor) else value.mapped(change)
            for item in fields(self)
            if item.name != "layout" and (value := getattr(self, item.name)) is not None
        }
        return replace(self, **changed)

    @property
    def num_questions(self) -> int:
        """All questions of the batch."""
        return sum(len(lengths) for lengths in self.layout.lengths)


def stack_frames(scenes: Sequence[PreparedScene], guidance: Tensor | None = None) -> Frames:
    """Frames of scenes of equal shape, and a teacher's features [S, F, P, P, D] of them."""
    return Frames(
        torch.stack([scene.images for scene in scenes]),
        torch.stack([scene.coordinates for scene in scenes]),
        torch.stack([scene.counts for scene in scenes]),
        guidance=guidance,
    )


def object_candidates(scene: PreparedScene) -> Candidates:
    """The scene's own objects: the candidates of training."""
    return Candidates(scene.boxes, scene.object_weights, scene.object_patches)


def proposal_candidates(scene: PreparedScene) -> Candidates:
    """The scene's proposals: the candidates of evaluation."""
    return Candidates(scene.proposals, scene.proposal_weights, scene.proposal_patches)


def training_question(
    sample: Sample,
    scene: PreparedScene,
    tokenizer: StudentTokenizer,
    mark: Callable[[Encoded], Encoded] | None = None,
) -> Question:
    """A sample with its answer: the reference text, or `<ground>` and the target rows.

    Args:
        sample: to train on.
        scene: it is about.
        tokenizer: of the student.
        mark: marks the tokens of a text sample that are learned; None learns the answer.

    Raises:
        DataError: a target object is not in the scene, or a text sample has no answer.
    """
    if sample.kind == "ground":
        return Question(
            sample,
            tokenizer.encode(sample.prompt, GROUND),
            region_of(sample, object_candidates(scene)),
            _target_rows(sample, scene),
        )
    if not sample.answers:
        raise DataError(f"sample {sample.sample_id}: a text sample needs an answer to train on")
    encoded = tokenizer.encode(sample.prompt, sample.answers[0])
    if mark is not None:
        encoded = mark(encoded)
    return Question(sample, encoded, region_of(sample, object_candidates(scene)))


def region_of(sample: Sample, candidates: Candidates) -> int | None:
    """Row of the candidate that `<coord>` points at: the one nearest to the sample's box.

    Raises:
        DataError: the prompt has `<coord>`, but there is no box or no candidate to point at.
    """
    if COORD not in sample.prompt:
        return None
    if sample.box_input is None or len(candidates.boxes) == 0:
        raise DataError(f"sample {sample.sample_id}: {COORD} in the prompt, but no box to point at")
    wanted = torch.tensor(sample.box_input, dtype=torch.float32)
    return int((candidates.boxes - wanted).abs().sum(dim=1).argmin())


def collate(
    scenes: Sequence[PreparedScene],
    questions: Sequence[Sequence[Question]],
    candidates: Sequence[Candidates],
    tokenizer: StudentTokenizer,
    blind: bool = False,
) -> SceneBatch:
    """Pack the questions of S scenes, in order.

    Args:
        scenes: S scenes of equal shapes.
        questions: per scene.
        candidates: per scene.
        tokenizer: of the student.
        blind: the prefix is the header alone.
    """
    frames = stack_frames(scenes)
    lengths = tuple(tuple(len(item.encoded.ids) for item in group) for group in questions)
    num_frames, grid = frames.coordinates.shape[1:3]
    layout = PrefixLayout(tokenizer.prefix_length(num_frames, grid, blind), lengths)
    flat = [(scene, item) for scene, group in enumerate(questions) for item in group]
    ids = torch.tensor([token for _, item in flat for token in item.encoded.ids]).long()
    boxes, weights, exists = _pad_candidates(candidates, frames)
    return SceneBatch(
        frames,
        layout,
        ids,
        _regions(flat, ids, candidates, frames, tokenizer),
        boxes,
        weights,
        *_answers(flat, ids),
        *_targets(flat, ids, exists, tokenizer),
        _pad_patches(candidates, boxes.shape[1]),
    )


def _target_rows(sample: Sample, scene: PreparedScene) -> tuple[int, ...]:
    row_of = {identity: row for row, identity in enumerate(scene.object_ids.tolist())}
    missing = [identity for identity in sample.target_ids if identity not in row_of]
    if missing:
        raise DataError(
            f"sample {sample.sample_id}: scene {scene.scene_id} has no object {missing[0]}"
        )
    return tuple(row_of[identity] for identity in sample.target_ids)


def _pad_candidates(
    candidates: Sequence[Candidates], frames: Frames
) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes [S, K, 6], weights [S, K, F, P, P] and which rows exist [S, K + 1], last always."""
    most = max(len(group.boxes) for group in candidates)
    cells = frames.counts.shape[1:]
    boxes = torch.zeros(len(candidates), most, 6)
    weights = torch.zeros(len(candidates), most, *cells)
    exists = torch.zeros(len(candidates), most + 1, dtype=torch.bool)
    exists[:, most] = True
    for scene, group in enumerate(candidates):
        count = len(group.boxes)
        boxes[scene, :count], weights[scene, :count] = group.boxes, group.weights
        exists[scene, :count] = True
    return boxes, weights, exists


def _pad_patches(candidates: Sequence[Candidates], most: int) -> Tensor | None:
    """[S, most, F, R, R], or None where some scene was prepared without."""
    maps = [group.patches for group in candidates if group.patches is not None]
    if len(maps) < len(candidates):
        return None
    padded = torch.zeros(len(maps), most, *maps[0].shape[1:])
    for scene, patches in enumerate(maps):
        padded[scene, : len(patches)] = patches
    return padded


def _regions(
    flat: Sequence[tuple[int, Question]],
    ids: Tensor,
    candidates: Sequence[Candidates],
    frames: Frames,
    tokenizer: StudentTokenizer,
) -> Regions:
    pointing = [(scene, item.region) for scene, item in flat if item.region is not None]
    tokens = (ids == tokenizer.coord_id).nonzero()[:, 0]
    if len(tokens) != len(pointing):
        raise DataError(f"{len(tokens)} {COORD} tokens in a batch of {len(pointing)} regions")
    cells = frames.counts.shape[1:]
    rows = [(candidates[scene], row) for scene, row in pointing]
    return Regions(
        tokens,
        torch.tensor([scene for scene, _ in pointing]).long(),
        _stack((group.weights[row] for group, row in rows), cells),
        _stack((group.boxes[row] for group, row in rows), (6,)),
    )


def _stack(tensors: Iterable[Tensor], shape: Sequence[int]) -> Tensor:
    listed = list(tensors)
    return torch.stack(listed) if listed else torch.zeros(0, *shape)


def _answers(flat: Sequence[tuple[int, Question]], ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens before each answer token, what follows, and the weight of each in its question."""
    tokens: list[int] = []
    weights: list[float] = []
    first = 0
    for _, item in flat:
        answer = [index for index, own in enumerate(item.encoded.is_answer) if own]
        if item.sample.kind == "text":
            tokens += [first + index - 1 for index in answer]
            weights += [1 / (item.encoded.divisor or len(answer)) for _ in answer]
        first += len(item.encoded.ids)
    before = torch.tensor(tokens).long()
    return before, ids[before + 1], torch.tensor(weights, dtype=torch.float32)


def _targets(
    flat: Sequence[tuple[int, Question]], ids: Tensor, exists: Tensor, tokenizer: StudentTokenizer
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where `<ground>` stands, in which scene, and which candidates are right and present."""
    grounding = [(scene, item) for scene, item in flat if item.sample.kind == "ground"]
    scenes = torch.tensor([scene for scene, _ in grounding]).long()
    positives = torch.zeros(len(grounding), exists.shape[1], dtype=torch.bool)
    for row, (_, item) in enumerate(grounding):
        positives[row, list(item.positives) or [-1]] = True
    tokens = (ids == tokenizer.ground_id).nonzero()[:, 0]
    assert len(tokens) == len(grounding), "every grounding question ends in <ground>"
    return tokens, scenes, positives, exists[scenes]
