"""Answers of a trained student: every scene's prefix once, all its questions behind it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from threedrs_components.benchmarks.asking import MAX_NEW_TOKENS, Asking, CandidateChoice
from threedrs_components.scenes.prepared import PreparedScene
from threedrs_components.students.batches import (
    Candidates,
    Question,
    SceneBatch,
    collate,
    object_candidates,
    proposal_candidates,
    region_of,
    stack_frames,
)
from threedrs_components.students.passes import Prefill
from threedrs_components.students.student import Student
from threedrs_components.students.tokenizer import COORD, GROUND
from threedrs_platform.errors import DataError
from threedrs_platform.records import Prediction, Sample

MAX_QUESTION_TOKENS = 4096
"""Tokens behind a prefix at a time, those still to be decoded included: fewer than a prefix of 32
frames has (6,721), so that a scene never takes more memory for having more questions."""


def predict_benchmarks(
    student: Student,
    scene: PreparedScene,
    samples: Sequence[Sample],
    asking: Mapping[str, Asking],
    guidance: Tensor | None = None,
) -> list[Prediction]:
    """Answer one scene's samples in their order, each as its benchmark asks.

    Args:
        student: trained, or as it started.
        scene: that the samples are about.
        samples: of any benchmarks.
        asking: by benchmark.
        guidance: [F, P, P, D] a teacher's features, for a student that reads them.

    Raises:
        DataError: candidates are needed that the scene does not have.
    """
    groups: dict[Asking, list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[asking[sample.benchmark]].append(sample)
    found = {
        prediction.sample_id: prediction
        for how, group in groups.items()
        for prediction in predict_scene(student, scene, group, guidance=guidance, **vars(how))
    }
    return [found[sample.sample_id] for sample in samples]


@torch.no_grad()
def predict_scene(
    student: Student,
    scene: PreparedScene,
    samples: Sequence[Sample],
    max_new_tokens: int = MAX_NEW_TOKENS,
    *,
    frames_only: bool = False,
    candidates: CandidateChoice = "proposals",
    most_tokens: int = MAX_QUESTION_TOKENS,
    guidance: Tensor | None = None,
) -> list[Prediction]:
    """Answer one scene's samples in their order, all asked in one way: see `Asking`.

    A grounding sample gets a cosine per proposal and one for "no object"; a text sample is decoded
    greedily; a caption whose object has no proposal gets an empty text, by the benchmark's rule.
    However many they are, there are never more than `most_tokens` behind the prefix at a time, or
    those of one question.
    """
    answerable = [sample for sample in samples if not _points_nowhere(sample)]
    found: dict[str, Prediction] = {}
    if answerable:
        chosen = candidates_of(scene, answerable, candidates)
        if frames_only:
            # A cell without pixels gets no encoding, and such questions point at no box.
            scene = replace(scene, counts=torch.zeros_like(scene.counts))
        frames = stack_frames([scene], None if guidance is None else guidance[None])
        prefill = student.prefill(frames.to(student.device))
        for prediction in _answer(
            student, prefill, scene, answerable, chosen, max_new_tokens, most_tokens
        ):
            found[prediction.sample_id] = prediction
    return [
        found.get(sample.sample_id, Prediction(sample.sample_id, text="")) for sample in samples
    ]


def _points_nowhere(sample: Sample) -> bool:
    return sample.misses_its_box or (COORD in sample.prompt and sample.box_input is None)


def candidates_of(
    scene: PreparedScene, samples: Sequence[Sample], choice: CandidateChoice
) -> Candidates:
    """Boxes that these samples choose among or point at.

    Raises:
        DataError: they need proposals, and nobody proposed any for the scene.
    """
    if choice == "ground_truth":
        return object_candidates(scene)
    needing = next((s for s in samples if s.kind == "ground" or COORD in s.prompt), None)
    if needing is not None and not scene.has_proposals:
        raise DataError(
            f"scene {scene.scene_id}: no proposals, but {needing.benchmark} is evaluated on it; "
            "give candidate boxes (scenes.proposals), or set benchmarks.candidates to "
            "ground_truth: an oracle, easier than any published setting"
        )
    return proposal_candidates(scene)


def _answer(
    student: Student,
    prefill: Prefill,
    scene: PreparedScene,
    samples: Sequence[Sample],
    candidates: Candidates,
    max_new_tokens: int,
    most_tokens: int,
) -> Iterator[Prediction]:
    tokenizer, blind = student.tokenizer, student.config.blind
    questions = [
        Question(
            sample,
            tokenizer.encode(sample.prompt, GROUND if sample.kind == "ground" else None),
            region_of(sample, candidates),
        )
        for sample in samples
    ]
    for chunk in chunks(questions, max_new_tokens, most_tokens):
        batch = collate([scene], [chunk], [candidates], tokenizer, blind).to(student.device)
        decoding = Continuation(student, prefill, batch)
        if len(batch.ground_tokens):
            yield from _grounded(student, prefill, batch, decoding.states, chunk)
        asked = [row for row, item in enumerate(chunk) if item.sample.kind == "text"]
        for row, ids in zip(asked, decoding.greedy(asked, max_new_tokens), strict=True):
            yield Prediction(chunk[row].sample.sample_id, text=tokenizer.decode(ids))


def chunks(
    questions: Sequence[Question], max_new_tokens: int, most_tokens: int
) -> Iterator[list[Question]]:
    """Questions in their order, so many together that with their answers they have few tokens."""
    chunk: list[Question] = []
    used = 0
    for question in questions:
        decoded = max_new_tokens if question.sample.kind == "text" else 0
        tokens = len(question.encoded.ids) + decoded
        if chunk and used + tokens > most_tokens:
            yield chunk
            chunk, used = [], 0
        chunk.append(question)
        used += tokens
    if chunk:
        yield chunk


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
        self.student, self.prefill, self.cache = student, prefill, student.empty_cache()
        self.lengths = torch.tensor(batch.layout.lengths[0], device=student.device)
        rows = torch.arange(len(self.lengths), device=student.device)
        self.owners = torch.repeat_interleave(rows, self.lengths)
        embedded = student.embed_questions(batch.ids, batch.regions, prefill.output.vision)
        self.states = student.ask(prefill, self.cache, embedded, batch.layout)
        """[N, C] at the question tokens"""

    def greedy(self, rows: Sequence[int], max_new_tokens: int) -> list[list[int]]:
        """The likeliest next token, again and again, for all these questions together."""
        decoded: list[list[int]] = [[] for _ in rows]
        last = self.lengths.cumsum(0) - 1
        active = list(range(len(rows)))
        states = self.states[last[list(rows)]]
        for step in range(max_new_tokens):
            if not bool(states.isfinite().all()):
                raise DataError(
                    "the student's states are not numbers, or too large for the format of its "
                    f"weights, {self.student.dtype}: set evaluation.dtype: bfloat16 or float32"
                )
            tokens = self.student.logits(states).argmax(-1)
            for place, token in zip(active, tokens.tolist(), strict=True):
                decoded[place].append(token)
            going = tokens != self.student.tokenizer.end_id
            active = [place for place, goes in zip(active, going.tolist(), strict=True) if goes]
            if not active or step + 1 == max_new_tokens:
                break
            owners = torch.tensor([rows[place] for place in active], device=self.owners.device)
            states = self._one_more(tokens[going], owners, self.lengths[owners] + step)
        return decoded

    def _one_more(self, tokens: Tensor, owners: Tensor, offsets: Tensor) -> Tensor:
        """States [n, C] of one further token of each question; it sees its own question so far."""
        self.owners = torch.cat([self.owners, owners])
        seen = self.owners[None] == owners[:, None]
        embedded = self.student.embed(tokens)
        return self.student.continue_from(self.prefill, self.cache, embedded, offsets, seen)
