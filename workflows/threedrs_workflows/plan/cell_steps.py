"""The recipe of a cell: which steps make its results, what each reads, and from which step.

Keys come from what stands here. A step gets the parameters that change its numbers and no others,
so that cells share all that they can: scenes, teachers and features are made once for a grid.
"""

from __future__ import annotations

from collections.abc import Mapping

from threedrs_components.benchmarks.config import BenchmarksConfig
from threedrs_components.benchmarks.held_out import HeldOut
from threedrs_components.metrics.meteor.data import ABSENT, installed_versions
from threedrs_components.objectives.registry import choose_objectives
from threedrs_components.scenes.settings import Role
from threedrs_platform.config.kinds import choose
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.steps import Resources, StepSpec
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.plan.annotation_records import annotated_scenes, record_files
from threedrs_workflows.steps.params.extract import ExtractParams
from threedrs_workflows.steps.params.finetune import FinetuneParams
from threedrs_workflows.steps.params.predict import PredictParams
from threedrs_workflows.steps.params.prepare import PrepareParams
from threedrs_workflows.steps.params.pretrain import PretrainParams
from threedrs_workflows.steps.params.probe import ProbeParams
from threedrs_workflows.steps.params.samples import RECORDS, Evaluated, SamplesParams
from threedrs_workflows.steps.params.scenes import ScenesParams
from threedrs_workflows.steps.params.score import ScoreParams
from threedrs_workflows.steps.params.teacher import TeacherParams


def cell_steps(experiment: Experiment, seed: int, digests: FileDigests) -> dict[str, StepSpec]:
    """Steps of one cell and seed by role.

    Raises:
        ConfigError: a checkpoint or data folder that the experiment names is not there.
    """
    shared = SharedSteps(experiment, digests)
    steps, answering = shared.by_role(), shared.student
    if experiment.trains():
        steps["finetune"] = answering = _finetune(experiment, seed, shared)
    reads = {"scenes": shared.scenes, "prepared": shared.prepared, "student": answering}
    student = choose(experiment.student_config())
    if not experiment.student_config().blind and experiment.scenes.has_geometry:
        steps["probe"] = _probe(experiment, "student", reads)
    benchmarks = experiment.benchmarks
    asking = {name: benchmarks.asking(name) for name in benchmarks.names}
    predict = PredictParams(
        student=student,
        evaluation=experiment.evaluation,
        asking=asking,
        missing_scenes=benchmarks.missing_scenes,
    )
    steps["predict"] = predict.step("predict", {**reads, "samples": shared.samples})
    answers = {"samples": shared.samples, "predictions": steps["predict"]}
    steps["score"] = score_params(benchmarks).step("score", answers)
    return steps


class SharedSteps:
    """Steps of a cell that do not depend on the seed or the losses: cells share them."""

    def __init__(self, experiment: Experiment, digests: FileDigests) -> None:
        self._experiment, self._digests = experiment, digests
        self._reader = choose(experiment.scenes.reader())
        self.scenes = self._scenes("student")
        trained = experiment.scenes.annotated_split
        self._scene_ids = annotated_scenes(experiment)
        prepare = PrepareParams(
            prepare=experiment.prepare,
            scenes=self._reader,
            trained_split=trained,
            scene_ids=self._scene_ids,
        )
        self.prepared = prepare.step("prepare", {"scenes": self.scenes})
        content = {
            name: digests.of(path, name) for name, path in experiment.benchmarks.places().named()
        }
        content |= {
            f"{RECORDS}{path.name}": digests.of(str(path), "benchmarks.annotations")
            for path in record_files(experiment)
            if path.is_file()
        }
        samples = samples_params(experiment.benchmarks, content, _held_out(experiment))
        self.samples = samples.step("samples", {"scenes": self.scenes})
        self.student = self._student()
        self.teacher = self._teacher()
        self.features = self._features()

    def by_role(self) -> dict[str, StepSpec]:
        """All of them by role."""
        steps = {
            "scenes": self.scenes,
            "prepare": self.prepared,
            "samples": self.samples,
            "pretrain": self.student,
        }
        if self.teacher is not None:
            steps["teacher"] = self.teacher
        if self.features is not None:
            steps["extract"] = self.features
            inputs = {
                "scenes": self.scenes,
                "prepared": self.prepared,
                "features": self.features,
            }
            # Nothing to learn where a setting is to be chosen, or from frames nobody else sees.
            own = self._experiment.alignment.frames == "student"
            if not self._experiment.held_out and own and self._experiment.scenes.has_geometry:
                steps["probe_teacher"] = _probe(self._experiment, "teacher", inputs)
        return steps

    def _scenes(self, role: Role) -> StepSpec:
        scenes = self._experiment.scenes.of_role(role)
        content = {
            setting: self._digests.of(path, setting) for setting, path in scenes.data().items()
        }
        params = ScenesParams(scenes=choose(scenes), role=role, content=content)
        return params.step("scenes", {}, label=role)

    def _student(self) -> StepSpec:
        student = self._experiment.student_config().start()
        if student.checkpoint is not None:
            setting = f"students.{self._experiment.student}.checkpoint"
            weights = self._digests.of(student.checkpoint, setting)
            return PretrainParams(student=choose(student), weights=weights).step("pretrain", {})
        recipe = self._experiment.student_pretraining
        params = PretrainParams(student=choose(student), student_pretraining=recipe)
        return params.step("pretrain", {"scenes": self.scenes})

    def _teacher(self) -> StepSpec | None:
        recipe = self._experiment.pretraining_of_teacher()
        if recipe is None:
            return None
        inputs = {"scenes": self._scenes("teacher")}
        return TeacherParams(pretraining=choose(recipe)).step(
            "teacher", inputs, label=self._experiment.teacher
        )

    def _features(self) -> StepSpec | None:
        experiment = self._experiment
        teacher, scenes = experiment.teacher_config(), experiment.scenes
        if teacher is None:
            return None
        inputs, weights = {"scenes": self.scenes}, None
        if self.teacher is not None:
            inputs["teacher"] = self.teacher
        elif teacher.checkpoint is not None:
            weights = self._digests.of(teacher.checkpoint, "teachers.*.checkpoint")
        splits = {scenes.annotated_split}
        if scenes.has_geometry:  # else nobody probes the teacher
            splits |= {scenes.probe_split, experiment.benchmarks.split}
        params = ExtractParams(
            teacher=choose(teacher),
            scenes=self._reader,
            weights=weights,
            grid=experiment.prepare.grid,
            area=experiment.teacher_area(),
            num_frames=experiment.prepare.num_frames,
            splits=tuple(sorted(splits)),
            statistics_split=scenes.annotated_split,
            on_bad_scene=experiment.prepare.on_bad_scene,
            frames=experiment.alignment.frames,
            scene_ids=self._scene_ids,
        )
        return params.step("extract", inputs, label=experiment.teacher)


def _finetune(experiment: Experiment, seed: int, shared: SharedSteps) -> StepSpec:
    inputs = {
        "scenes": shared.scenes,
        "prepared": shared.prepared,
        "samples": shared.samples,
        "student": shared.student,
    }
    if shared.features is not None:
        inputs["features"] = shared.features
    params = FinetuneParams(
        student=choose(experiment.student_config()),
        training=experiment.training,
        text_split=experiment.scenes.annotated_split,
        seed=seed,
        objectives=choose_objectives(experiment.active_objectives()),
    )
    workers = experiment.training.workers
    return params.step("finetune", inputs, resources=Resources(cpus=workers, workers=workers))


def _probe(experiment: Experiment, label: str, inputs: Mapping[str, StepSpec]) -> StepSpec:
    params = ProbeParams(
        probe=experiment.probe,
        fit_split=experiment.scenes.probe_split,
        test_split=experiment.benchmarks.split,
        held_out=_held_out(experiment),
        student=choose(experiment.student_config()) if "student" in inputs else None,
        evaluation=experiment.evaluation if "student" in inputs else None,
    )
    return params.step("probe", inputs, label=label)


def samples_params(
    config: BenchmarksConfig,
    content: Mapping[str, str] | None = None,
    held_out: HeldOut | None = None,
) -> SamplesParams:
    """What makes the samples of some benchmarks; nothing of how they are answered or scored.

    Args:
        config: the benchmarks.
        content: digests of annotation files outside the scenes, by setting.
        held_out: which scenes are evaluated in place of a split.
    """
    loaders = {name: choose(config.loader(name)) for name in (*config.trained(), *config.names)}
    return SamplesParams(
        trained=tuple(loaders[name] for name in config.trained()),
        evaluated=tuple(
            Evaluated(loader=loaders[name], split=config.split_of(name)) for name in config.names
        ),
        wording=config.wording(),
        candidates=config.candidates,
        places=config.places(),
        content=dict(content or {}),
        held_out=held_out,
        missing_scenes=config.missing_scenes,
    )


def score_params(config: BenchmarksConfig) -> ScoreParams:
    """What judges the answers to some benchmarks."""
    scorers, versions = [config.scorer(name) for name in config.names], installed_versions()
    optional = config.meteor == "if_installed" and any(each.compares_texts for each in scorers)
    if optional and ABSENT not in versions.values():
        scorers = [scorer.with_meteor() for scorer in scorers]
    # That they are absent is part of the key, too: with them there will be another number.
    packages = versions if optional or any(scorer.uses_meteor for scorer in scorers) else {}
    return ScoreParams(scorers=tuple(map(choose, scorers)), packages=packages)


def _held_out(experiment: Experiment) -> HeldOut | None:
    """Which scenes are taken out of training and evaluated, where some are."""
    if not experiment.held_out:
        return None
    return HeldOut(share=experiment.held_out, split=experiment.scenes.annotated_split)
