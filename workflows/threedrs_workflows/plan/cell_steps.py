"""The recipe of a cell: which steps make its results, what each reads, and from which step.

Keys come from what stands here. A step gets the parameters that change its numbers and no others,
so that cells share all that they can: scenes, teachers and features are made once for a grid.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from threedrs_components.benchmarks.registry import asking
from threedrs_components.objectives.registry import choose_objectives
from threedrs_components.scenes.registry import MicroWorldConfig, RGBDFolderConfig, ScanNetConfig
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.steps import Resources, StepSpec
from threedrs_workflows.experiment import NO_EFFECT, Experiment

PROBE_FIT, TEXT, TRAIN = "probe", "text", "train"
"""Splits of a world: fits the position probe; carries text; everything but evaluation."""
NOT_ASKED = {"max_new_tokens", "protocols", "text_metrics"}
"""Of benchmarks: decides answers or scores, but no sample."""
NOT_SCORED = {"max_new_tokens", "training"}
"""Of benchmarks: decides what is learned or answered, but no score of it."""


def cell_steps(experiment: Experiment, seed: int, digests: FileDigests) -> dict[str, StepSpec]:
    """Steps of one cell and seed by role.

    Raises:
        ConfigError: a checkpoint or data folder that the experiment names is not there.
    """
    shared = _World(experiment, digests)
    finetune = _finetune(experiment, seed, shared)
    steps = {**shared.steps(), "finetune": finetune}
    reads = {"scenes": shared.scenes, "prepared": shared.prepared, "student": finetune}
    if not experiment.student_config().blind:
        steps["probe"] = _probe(experiment, "student", reads)
    steps["predict"] = _step(
        "predict",
        {"student": _student_params(experiment), "asking": asking(experiment.benchmarks)},
        {**reads, "samples": shared.samples},
    )
    steps["score"] = _step(
        "score",
        shared.scoring,
        {"scenes": shared.scenes, "predictions": steps["predict"]},
    )
    return steps


class _World:
    """Steps that do not depend on the seed or the losses: cells share them."""

    def __init__(self, experiment: Experiment, digests: FileDigests) -> None:
        self._experiment, self._digests = experiment, digests
        self.scenes = self._scenes("student")
        self.prepared = _step(
            "prepare", {"prepare": experiment.prepare.canonical()}, {"scenes": self.scenes}
        )
        asked = _benchmarks(experiment, digests, NOT_ASKED)
        self.samples = _step("samples", asked, {"scenes": self.scenes})
        self.scoring = _benchmarks(experiment, digests, NOT_SCORED)
        self.student = self._student()
        self.teacher = self._teacher()
        self.features = self._features()

    def steps(self) -> dict[str, StepSpec]:
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
            if not self._experiment.held_out and self._experiment.alignment.frames == "student":
                steps["probe_teacher"] = _probe(self._experiment, "teacher", inputs)
        return steps

    def _scenes(self, role: str) -> StepSpec:
        config = self._experiment.scenes
        params: dict[str, Any] = {"scenes": config.canonical(), "role": role}
        if isinstance(config, MicroWorldConfig):
            others = {"train", "text", "val"} if role == "teacher" else {"teacher_scenes"}
            params["scenes"] = {k: v for k, v in params["scenes"].items() if k not in others}
        else:
            params["content"] = _content(config, self._digests)
        return _step("scenes", params, {}, label=role)

    def _student(self) -> StepSpec:
        student = self._experiment.student_config()
        params: dict[str, Any] = {"student": _start_params(self._experiment)}
        if student.checkpoint is not None:
            params["weights"] = self._digests.of(student.checkpoint, "students.*.checkpoint")
            return _step("pretrain", params, {})
        recipe = self._experiment.student_pretraining.canonical()
        params["pretraining"] = _without(recipe, "student_pretraining")
        return _step("pretrain", params, {"scenes": self.scenes})

    def _teacher(self) -> StepSpec | None:
        recipe = self._experiment.pretraining_of_teacher()
        if recipe is None:
            return None
        params = {"pretraining": _without(recipe.canonical(), "teacher_pretraining")}
        inputs = {"scenes": self._scenes("teacher")}
        return _step("teacher", params, inputs, label=self._experiment.teacher)

    def _features(self) -> StepSpec | None:
        experiment = self._experiment
        teacher, evaluated = experiment.teacher_config(), experiment.benchmarks.split
        if teacher is None:
            return None
        params: dict[str, Any] = {
            "teacher": teacher.canonical(),
            "grid": experiment.prepare.grid,
            "num_frames": experiment.prepare.num_frames,
            "splits": sorted({text_split(experiment), probe_split(experiment), evaluated}),
            "statistics_split": text_split(experiment),
            "on_bad_scene": experiment.prepare.on_bad_scene,
            "frames": experiment.alignment.frames,
        }
        inputs = {"scenes": self.scenes}
        if self.teacher is not None:
            inputs["teacher"] = self.teacher
        elif teacher.checkpoint is not None:
            path = teacher.checkpoint
            params["weights"] = self._digests.of(path, "teachers.*.checkpoint")
        return _step("extract", params, inputs, label=experiment.teacher)


def _finetune(experiment: Experiment, seed: int, shared: _World) -> StepSpec:
    objectives = choose_objectives(experiment.active_objectives())
    params: dict[str, Any] = {
        "student": _student_params(experiment),
        "objectives": [each.identity() for each in objectives],
        "training": _without(experiment.training.canonical(), "training"),
        "text_split": text_split(experiment),
        "seed": seed,
    }
    inputs = {
        "scenes": shared.scenes,
        "prepared": shared.prepared,
        "samples": shared.samples,
        "student": shared.student,
    }
    if shared.features is not None:
        inputs["features"] = shared.features
    return StepSpec(
        "finetune",
        "threedrs_workflows.steps.finetune:run",
        params,
        inputs,
        resources=Resources(cpus=experiment.training.workers),
        settings={"training": _settings(experiment.training.canonical(), "training")},
        modules=tuple(name for each in objectives for name in (each.module, *each.more)),
    )


def _probe(experiment: Experiment, label: str, inputs: Mapping[str, StepSpec]) -> StepSpec:
    params = {
        "probe": experiment.probe.canonical(),
        "fit_split": probe_split(experiment),
        "test_split": experiment.benchmarks.split,
        **_held_out(experiment),
    }
    return _step("probe", params, inputs, label=label)


def text_split(experiment: Experiment) -> str:
    """The scenes to fine-tune on; ScanNet's lists know no part of "train"."""
    return TRAIN if isinstance(experiment.scenes, ScanNetConfig) else TEXT


def probe_split(experiment: Experiment) -> str:
    """The scenes that the position probe is fitted on."""
    return TRAIN if isinstance(experiment.scenes, ScanNetConfig) else PROBE_FIT


def _start_params(experiment: Experiment) -> dict[str, Any]:
    """Student settings that its start depends on: those of use only in training are left out."""
    later = {
        "blind",
        "coord_input",
        "frozen",
        "gradient_checkpointing",
        "object_features",
        "object_membership",
        "position_encoding",
    }
    return {k: v for k, v in _student_params(experiment).items() if k not in later}


def _student_params(experiment: Experiment) -> dict[str, Any]:
    return experiment.student_config().canonical()


def _step(
    kind: str,
    params: Mapping[str, Any],
    inputs: Mapping[str, StepSpec],
    *,
    label: str = "",
) -> StepSpec:
    return StepSpec(kind, f"threedrs_workflows.steps.{kind}:run", params, inputs, label)


def _without(config: Mapping[str, Any], section: str) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in NO_EFFECT[section]}


def _settings(config: Mapping[str, Any], section: str) -> dict[str, Any]:
    return {key: config[key] for key in sorted(NO_EFFECT[section])}


def _content(config: RGBDFolderConfig | ScanNetConfig, digests: FileDigests) -> str | list[str]:
    """Digests of all files that the scenes are read from."""
    if isinstance(config, RGBDFolderConfig):
        return digests.of(config.root, "scenes.root")
    lists = [*config.frame_lists.values(), *config.boxes, *config.proposals]
    return [digests.of(path, "scenes") for path in (config.posed_images, *lists)]


def _benchmarks(
    experiment: Experiment, digests: FileDigests, without: Collection[str]
) -> dict[str, Any]:
    """What the benchmarks ask, with the content of files that lie outside the scenes."""
    config = experiment.benchmarks
    files = {
        "annotations": config.annotations,
        "box_file": config.box_file,
        "label_map": config.label_map,
    }
    content = {
        name: digests.of(path, f"benchmarks.{name}")
        for name, path in files.items()
        if path is not None
    }
    return {
        "benchmarks": {k: v for k, v in config.canonical().items() if k not in without},
        **({"content": content} if content else {}),
        **_held_out(experiment),
    }


def _held_out(experiment: Experiment) -> dict[str, Any]:
    """Which scenes are taken out of training and evaluated, where some are."""
    if not experiment.held_out:
        return {}
    return {"held_out": {"share": experiment.held_out, "split": text_split(experiment)}}
