"""Questions of a person about one scene: one visual prefix, all questions behind it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor

from threedrs_components.benchmarks.asking import MAX_NEW_TOKENS, Asking
from threedrs_components.benchmarks.prediction_files import check_predictions
from threedrs_components.models.recipe import Recipe
from threedrs_components.models.scenes import AskedScene
from threedrs_components.students.guidance import guidance_of
from threedrs_components.students.student import Student
from threedrs_components.training.prediction import predict_benchmarks, predict_scene
from threedrs_platform.errors import CheckpointError, DataError
from threedrs_platform.records import Prediction, Sample
from threedrs_platform.store.features import feature_path

Kind = Literal["text", "ground"]
BEGINNINGS = ("point at", "point to", "point out", "locate", "find", "identify")
"""What a question begins with that wants a box."""
POINTING = re.compile(rf"^\s*({'|'.join(BEGINNINGS)})\s+", re.IGNORECASE)
WORDED_BY: dict[Kind, tuple[str, str]] = {
    "text": ("scanqa", "question"),
    "ground": ("scanrefer", "description"),
}
"""The benchmark whose prompt a question gets, and the place in it."""
UNKNOWN = "<unk>"
"""What a micro student reads in place of a word that it has not learned."""
RUNNERS_UP = 5
"""Candidates that an answer tells, best first."""


@dataclass(frozen=True)
class Choice:
    """A candidate box and how well it fits. `box` is centre and size in metres; None: no object."""

    box: tuple[float, ...] | None
    score: float
    """Cosine of the description and the candidate."""
    label: str = ""
    row: int | None = None
    """Of the scene's candidates."""


@dataclass(frozen=True)
class Answer:
    """What a student said to one question."""

    question: str
    kind: Kind
    prompt: str
    """What the student read behind the frames."""
    text: str = ""
    choices: tuple[Choice, ...] = ()
    """Of a grounding question: the best candidates, best first, "no object" among them."""
    prediction: Prediction | None = None
    """As `workflows predictions` writes it."""


def kind_of(question: str) -> Kind:
    """Whether a question wants a box: "point at ...", "find ...", "locate ...", "identify ..."."""
    return "ground" if POINTING.match(question) else "text"


def ask(
    recipe: Recipe,
    student: Student,
    scene: AskedScene,
    questions: Sequence[tuple[str, Kind]],
    *,
    max_new_tokens: int | None = None,
    as_is: bool = False,
) -> list[Answer]:
    """Answer questions about one scene, in their order; its frames are run through once.

    Args:
        recipe: how the student was asked until now.
        student: of the recipe.
        scene: prepared for it.
        questions: each with the kind of its answer.
        max_new_tokens: longest answer; None is what the recipe's questions have.
        as_is: give the words to the student without the benchmark's prompt round them.

    Raises:
        DataError: a box is wanted, and the scene has none to choose among.
        CheckpointError: the student reads a teacher's features, and there are none of this scene.
    """
    samples = [
        Sample(f"q{number}", "question", scene.prepared.scene_id, kind,
               prompt=question if as_is else prompt_of(recipe, question, kind))
        for number, (question, kind) in enumerate(questions, 1)
    ]  # fmt: skip
    require_candidates(scene, questions)
    maps = guidance(recipe, student, scene)
    usual = recipe.benchmarks.get(WORDED_BY["text"][0])
    limit = max_new_tokens or (usual.asking.max_new_tokens if usual else MAX_NEW_TOKENS)
    found = predict_scene(
        student,
        scene.prepared,
        samples,
        limit,
        frames_only=all(each.asking.frames_only for each in recipe.benchmarks.values()),
        candidates=scene.choice or "ground_truth",
        guidance=maps,
    )
    check_predictions(found)  # ranks of what is not a number would look like answers
    return [
        _answer(question, kind, sample.prompt, prediction, scene.labels)
        for (question, kind), sample, prediction in zip(questions, samples, found, strict=True)
    ]


def ask_again(
    recipe: Recipe, student: Student, scene: AskedScene, samples: Sequence[Sample]
) -> list[Answer]:
    """Put questions of the recipe's own evaluation once more, exactly as its run puts them.

    Raises:
        DataError: a box is wanted, and the scene has none to choose among.
        CheckpointError: the student reads a teacher's features, and there are none of this scene.
    """
    asking = {name: _as_there(each.asking, scene) for name, each in recipe.benchmarks.items()}
    maps = guidance(recipe, student, scene)
    found = predict_benchmarks(student, scene.prepared, samples, asking, maps)
    check_predictions(found)
    return [
        _answer(
            sample.prompt,
            sample.kind,
            sample.prompt,
            prediction,
            scene.labels_of(asking[sample.benchmark].candidates),
        )
        for sample, prediction in zip(samples, found, strict=True)
    ]


def _as_there(asking: Asking, scene: AskedScene) -> Asking:
    """Nobody proposes boxes for scenes that training holds out: true ones are chosen among."""
    if asking.candidates == "proposals" and not scene.prepared.has_proposals:
        return asking.model_copy(update={"candidates": "ground_truth"})
    return asking


def guidance(recipe: Recipe, student: Student, scene: AskedScene) -> Tensor | None:
    """What a student with fusion reads beside the frames of a scene; None for all others.

    Raises:
        CheckpointError: there is nothing stored of this scene.
    """
    if student.fusion is None:
        return None
    scene_id, folder = scene.prepared.scene_id, recipe.features
    if folder is None or not feature_path(folder, scene_id).is_file():
        raise CheckpointError(
            f"{recipe.title} reads a 3D teacher's features beside the frames (fusion), and none "
            f"are stored of scene {scene_id}: ask about a scene of its run, for which step extract "
            "has stored them"
        )
    return guidance_of(student, folder)(scene.prepared)


def prompt_of(recipe: Recipe, question: str, kind: Kind) -> str:
    """A question in the words that the student has learned to answer."""
    benchmark, place = WORDED_BY[kind]
    said = POINTING.sub("", question, count=1) if kind == "ground" else question
    if kind == "ground":
        said = recipe.wording.describe(said.strip().rstrip("?!."))
    known = recipe.benchmarks.get(benchmark)
    template = f"{{{place}}}" if known is None else str(vars(known.loader)["prompt"])
    return recipe.wording.render(template, "evaluation", **{place: said})


def require_candidates(scene: AskedScene, questions: Sequence[tuple[str, Kind]]) -> None:
    """Refuse to look for boxes where there are none.

    Raises:
        DataError: a box is wanted, and the scene has none to choose among; says what to do.
    """
    if scene.choice is None and any(kind == "ground" for _, kind in questions):
        raise DataError(
            f"scene {scene.prepared.scene_id}: no boxes to choose among, and this model chooses, "
            "it draws none: put a boxes.json into the scene's folder (object_ids, labels, boxes of "
            "six numbers: centre and size in metres), or give candidates by --proposals FILE "
            '({"SCENE": [[x, y, z, dx, dy, dz], ...]}); questions for words need none'
        )


def cautions(student: Student, answers: Sequence[Answer]) -> list[str]:
    """What should be known beside the answers: what the student could not read, or see."""
    told = ["this student is blind, a control: it sees no frame"] if student.config.blind else []
    words = student.tokenizer.tokenizer
    nothing = words.token_to_id(UNKNOWN)
    if nothing is None:  # tokenizers of published weights know every byte
        return told
    unread: dict[str, None] = {}
    for answer in answers:
        read = words.encode(answer.prompt)
        for token, (start, end) in zip(read.ids, read.offsets, strict=True):
            if token == nothing:
                unread.setdefault(answer.prompt[start:end])
    if unread:
        told.append(f"this student has never read the words: {', '.join(unread)}")
    return told


def _answer(
    question: str, kind: Kind, prompt: str, prediction: Prediction, labels: Sequence[str]
) -> Answer:
    if kind == "text":
        return Answer(question, kind, prompt, (prediction.text or "").strip(), (), prediction)
    order = np.argsort(-np.asarray(prediction.scores), kind="stable").tolist()
    choices = tuple(_choice(prediction, labels, row) for row in order)
    return Answer(question, kind, prompt, "", _told(choices), prediction)


def _choice(prediction: Prediction, labels: Sequence[str], row: int) -> Choice:
    score = prediction.scores[row]
    if row == len(prediction.boxes):
        return Choice(None, score, "no object")
    return Choice(prediction.boxes[row], score, labels[row] if labels else "", row)


def _told(choices: Sequence[Choice]) -> tuple[Choice, ...]:
    """The best, and wherever it ranks "no object"."""
    rest = [each for each in choices[RUNNERS_UP:] if each.box is None]
    return (*choices[:RUNNERS_UP], *rest)
