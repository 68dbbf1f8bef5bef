"""A student evaluated on scenes and annotations in folders: what steps do, without a grid."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from threedrs_components.benchmarks.annotation_files import AnnotationFolder, AnnotationPlaces
from threedrs_components.benchmarks.asking import MissingScenes
from threedrs_components.benchmarks.prediction_files import (
    check_predictions,
    read_predictions,
    write_predictions,
)
from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.benchmarks.tally import Evaluation
from threedrs_components.models.recipe import Recipe
from threedrs_components.scenes.ahead import ahead
from threedrs_components.scenes.boxes import read_candidates
from threedrs_components.scenes.prepared import PreparedScene, prepare_scene
from threedrs_components.scenes.scannet import ScanNetConfig
from threedrs_components.scenes.splits import ALL
from threedrs_components.students.student import Student
from threedrs_components.training.prediction import predict_benchmarks
from threedrs_platform.errors import ConfigError, DataError, Fault, SceneError
from threedrs_platform.records import Float32, Prediction, Sample
from threedrs_platform.sealed import keep_sound, write_sealed
from threedrs_platform.storage import place_errors
from threedrs_workflows.models.worlds import World

ANSWERS, REQUEST = "answers", "request.json"
"""What an output folder holds: a file of answers for each scene, and what was asked for."""


@dataclass(frozen=True)
class EvaluationRequest:
    """What is evaluated, and on what."""

    recipe: Recipe
    names: tuple[str, ...]
    """Benchmarks."""
    world: World
    annotations: AnnotationFolder
    split: str = "val"
    proposals: Path | None = None
    """File of candidate boxes by scene; None takes those of the scenes."""
    missing_scenes: MissingScenes = "refuse"
    """Questions on scenes that are not there or unusable."""
    out: Path | None = None
    """Keeps the answers; one that was begun is gone on with."""

    def content(self) -> dict[str, Any]:
        """Everything that answers depend on, JSON-ready; weights by names, sizes and times."""
        stats = ((path.name, path.stat()) for path in sorted(self.recipe.folder.iterdir()))
        return {
            "weights": [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats],
            "student": self.recipe.student.canonical(),
            "dtype": self.recipe.dtype,
            "prepare": self.recipe.prepare.canonical(),
            "wording": self.recipe.wording.canonical(),
            "benchmarks": {
                name: [
                    self.recipe.benchmarks[name].loader.canonical(),
                    self.recipe.benchmarks[name].asking.canonical(),
                ]
                for name in self.names
            },
            "scenes": _resolved(
                self.world.settings.canonical(), {*self.world.settings.data().values()}
            ),
            "annotations": str(self.annotations.root.resolve()),
            "proposals": str(self.proposals and self.proposals.resolve()),
            "split": self.split,
        }


def _resolved(settings: Any, places: Collection[str]) -> Any:
    """JSON values with all that are places as they are from any folder."""
    if isinstance(settings, dict):
        return {key: _resolved(each, places) for key, each in settings.items()}
    if isinstance(settings, list):
        return [_resolved(each, places) for each in settings]
    return str(Path(settings).resolve()) if settings in places else settings


@dataclass
class Evaluated:
    """Evaluations by benchmark, and what they are about."""

    evaluations: list[Evaluation] = field(default_factory=list)
    predictions: dict[str, list[Prediction]] = field(default_factory=dict)
    """By benchmark."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Scenes that nobody was asked about, and why."""


def annotation_folder(
    root: Path, world: World, *, box_file: Path | None, label_map: Path | None, oracle: bool
) -> AnnotationFolder:
    """Annotations in a folder; without a file of boxes, those that the scenes come with."""
    settings = world.settings
    known = settings.boxes if isinstance(settings, ScanNetConfig) else ()
    places = AnnotationPlaces(
        annotations=str(root),
        box_file=(known or None) if box_file is None else str(box_file),
        label_map=None if label_map is None else str(label_map),
    )
    return places.folder(world.folder, oracle=oracle)


def oracle(recipe: Recipe) -> Recipe:
    """The same choosing among true boxes."""
    true_boxes = {"candidates": "ground_truth"}
    return replace(
        recipe,
        benchmarks={
            name: replace(each, asking=each.asking.model_copy(update=true_boxes))
            for name, each in recipe.benchmarks.items()
        },
    )


def read_questions(request: EvaluationRequest) -> dict[str, list[Sample]]:
    """The samples of every benchmark.

    Raises:
        ConfigError: the recipe says nothing of a benchmark, or there are no boxes to choose among.
        AnnotationError: names file, record and field of what is wrong.
    """
    recipe = request.recipe
    unknown = [name for name in request.names if name not in recipe.benchmarks]
    if unknown:
        known = ", ".join(recipe.benchmarks)
        message = (
            f"{recipe.title} was evaluated on {known} only, so nothing says how {unknown[0]} is to "
            "be asked; give the folder of its student in place of the cell, with a --preset"
        )
        raise ConfigError([Fault(message, "--benchmark")])
    choosing = [name for name in request.names if _chooses(recipe, name)]
    if choosing and not _proposals(request):
        message = (
            f"{choosing[0]} chooses among candidate boxes, and {request.world.place} "
            "has none: give them by --proposals FILE, or choose among true boxes by --oracle, "
            "which is easier than any published setting"
        )
        raise ConfigError([Fault(message, "--proposals")])
    return {
        name: recipe.benchmarks[name].loader.samples(
            request.annotations, recipe.wording, request.split
        )
        for name in request.names
    }


def _chooses(recipe: Recipe, name: str) -> bool:
    """Whether a benchmark's questions need proposals."""
    return (
        BENCHMARKS[name]().about_boxes and recipe.benchmarks[name].asking.candidates == "proposals"
    )


def evaluate(
    request: EvaluationRequest,
    samples: Mapping[str, Sequence[Sample]],
    student: Student,
    progress: Callable[[int, int, str], None],
    report: Callable[[str], None],
) -> Evaluated:
    """Ask and score.

    Args:
        request: what to do.
        samples: as `read_questions` gives them.
        student: of the request's recipe.
        progress: told the number of scenes done, of all, and the last one.
        report: told what should be known beside the numbers.

    Raises:
        DataError: scenes are missing or unusable, and that is refused; or boxes are wanted that a
            scene does not have.
        ConfigError: the output folder holds another evaluation.
    """
    outcome = Evaluated(predictions={name: [] for name in samples})
    by_scene: dict[str, list[Sample]] = defaultdict(list)
    for sample in (each for group in samples.values() for each in group):
        by_scene[sample.scene_id].append(sample)
    present = _present(request, by_scene, outcome)
    owner = {each.sample_id: each.benchmark for group in samples.values() for each in group}
    for answer in _answers(request, student, by_scene, present, outcome, progress, report):
        outcome.predictions[owner[answer.sample_id]].append(answer)
    for name, group in samples.items():
        asked = [each for each in group if each.scene_id not in outcome.left_out]
        if not asked:
            report(f"{name} has no score: none of its scenes is here")
            continue
        scorer = request.recipe.benchmarks[name].scorer
        outcome.evaluations.append(scorer.evaluate(asked, outcome.predictions[name]))
    return outcome


def _present(
    request: EvaluationRequest, by_scene: Mapping[str, Sequence[Sample]], outcome: Evaluated
) -> list[str]:
    """Scenes with questions that are there; the others are left out, or refused."""
    there = frozenset(request.world.source.scenes(ALL))
    present = sorted(by_scene.keys() & there)
    for scene_id in sorted(by_scene.keys() - there):
        outcome.left_out[scene_id] = "not there"
    if outcome.left_out and (request.missing_scenes == "refuse" or not present):
        questions = sum(len(by_scene[each]) for each in outcome.left_out)
        raise DataError(
            f"{questions} questions are about {len(outcome.left_out)} scenes that "
            f"{request.world.place} does not hold, e.g. {next(iter(outcome.left_out))}; get these "
            "scenes, or score the others alone with --missing-scenes leave_out"
        )
    return present


def _answers(
    request: EvaluationRequest,
    student: Student,
    by_scene: Mapping[str, Sequence[Sample]],
    present: Sequence[str],
    outcome: Evaluated,
    progress: Callable[[int, int, str], None],
    report: Callable[[str], None],
) -> Iterator[Prediction]:
    """Predictions scene by scene; those that lie in the output folder are read."""
    folder = _begun(request)
    asking = {name: request.recipe.benchmarks[name].asking for name in request.names}
    paths = {each: folder / f"{each}.jsonl" for each in present} if folder else {}
    kept = [each for each in present if folder and keep_sound(paths[each], report)]
    missing = [each for each in present if each not in kept]
    if kept:
        report(f"{len(kept)} of {len(present)} scenes were answered before")
    for scene_id in kept:
        yield from read_predictions(paths[scene_id])
    prepare = partial(_prepared, request, _proposals(request))
    with closing(ahead(prepare, missing)) as scenes:
        for number, (scene_id, scene) in enumerate(zip(missing, scenes, strict=True), 1):
            if isinstance(scene, SceneError):
                if request.missing_scenes == "refuse":
                    raise scene
                outcome.left_out[scene_id] = scene.reason
                report(f"left out: {scene}")
                continue
            answers = predict_benchmarks(student, scene, by_scene[scene_id], asking)
            check_predictions(answers)  # ranks of what is not a number would look like answers
            if folder:
                write_sealed(paths[scene_id], partial(write_predictions, predictions=answers))
            progress(len(kept) + number, len(present), scene_id)
            yield from answers


def _prepared(
    request: EvaluationRequest, proposals: Mapping[str, Float32], scene_id: str
) -> PreparedScene | SceneError:
    try:
        scene = request.world.source.load(scene_id)
        return prepare_scene(scene, proposals.get(scene_id), request.recipe.prepare)
    except SceneError as error:
        return error


def _proposals(request: EvaluationRequest) -> dict[str, Float32]:
    if request.proposals is not None:
        return read_candidates(request.proposals)
    return request.world.proposals


def _begun(request: EvaluationRequest) -> Path | None:
    """Folder of the answers of each scene; None where nothing is kept.

    Raises:
        ConfigError: it holds answers to something else.
    """
    if request.out is None:
        return None
    text, told = json.dumps(request.content(), indent=1, sort_keys=True), request.out / REQUEST
    with place_errors(f"write {request.out}"):
        (request.out / ANSWERS).mkdir(parents=True, exist_ok=True)
        if told.is_file() and told.read_text(encoding="utf-8") != text:
            message = (
                f"{request.out} holds another evaluation ({REQUEST} differs); name a new folder"
            )
            raise ConfigError([Fault(message, "--out")])
        told.write_text(text, encoding="utf-8")
    return request.out / ANSWERS
