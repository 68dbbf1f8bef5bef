"""The recipe of a cell: which steps make its results, what each reads, and from which step.

Keys come from what stands here. A step gets the parameters that change its numbers and no others,
so that cells share all that they can: scenes, teachers and features are made once for a grid.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import replace
from typing import Literal

from threedrs_components.benchmarks.held_out import HeldOut
from threedrs_components.pretraining.registry import pretraining_of
from threedrs_components.scenes.settings import Role
from threedrs_platform.config.kinds import choose
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.steps import StepSpec
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.plan.annotation_records import annotated_scenes, record_files
from threedrs_workflows.plan.benchmark_params import samples_params, score_params
from threedrs_workflows.plan.common import Common
from threedrs_workflows.plan.finetune_step import finetune_step
from threedrs_workflows.steps.params.extract import ExtractParams
from threedrs_workflows.steps.params.predict import PredictParams
from threedrs_workflows.steps.params.prepare import PrepareParams
from threedrs_workflows.steps.params.pretrain import PretrainParams
from threedrs_workflows.steps.params.probe import ProbeParams
from threedrs_workflows.steps.params.samples import RECORDS
from threedrs_workflows.steps.params.scenes import ScenesParams
from threedrs_workflows.steps.params.teacher import TeacherParams
from threedrs_workflows.written import Written


class StepMaker:
    """Makes the steps of many cells; those that cells share are made once."""

    def __init__(self, digests: FileDigests, written: Written | None = None) -> None:
        self._digests, self._written = digests, written or Written()
        self._shared: dict[Hashable, SharedSteps] = {}

    def steps(self, experiment: Experiment, seed: int) -> dict[str, StepSpec]:
        """Steps of one cell and seed by role.

        Raises:
            ConfigError: a checkpoint or data folder that the experiment names is not there.
        """
        shared = self._written.once("shared", lambda: self._of(experiment), self, experiment)
        steps, answering = shared.by_role(), shared.student
        if experiment.trains():
            train = self._written.once(
                "finetune",
                lambda: finetune_step(experiment, shared.of_training(), self._written),
                shared,
                experiment,
            )
            params = {**train.params, "seed": seed}
            steps["finetune"] = answering = replace(train, params=params)
        steps |= shared.judged(answering)
        return steps

    def _of(self, experiment: Experiment) -> SharedSteps:
        common = Common.of(experiment)
        if common.key not in self._shared:
            self._shared[common.key] = SharedSteps(common, self._digests)
        return self._shared[common.key]


class SharedSteps:
    """Steps of a cell that do not depend on the seed or the losses: cells share them."""

    def __init__(self, common: Common, digests: FileDigests) -> None:
        self._common, self._digests = common, digests
        self._reader = choose(common.scenes.reader())
        self.scenes = self._scenes("student")
        trained = common.scenes.annotated_split
        self._scene_ids = annotated_scenes(common)
        prepare = PrepareParams(
            prepare=common.prepare,
            scenes=self._reader,
            trained_split=trained,
            scene_ids=self._scene_ids,
        )
        self.prepared = prepare.step("prepare", {"scenes": self.scenes})
        content = {
            name: digests.of(path, name) for name, path in common.benchmarks.places().named()
        }
        content |= {
            f"{RECORDS}{path.name}": digests.of(str(path), "benchmarks.annotations")
            for path in record_files(common)
            if path.is_file()
        }
        samples = samples_params(common.benchmarks, content, self._held_out())
        self.samples = samples.step("samples", {"scenes": self.scenes})
        self.student = self._student()
        self.teacher = self._teacher()
        self.features = self._features()
        self.depth = self._depth()
        self._by_role = self._named()
        self._judging = self._judged()

    def by_role(self) -> dict[str, StepSpec]:
        """All of them by role."""
        return dict(self._by_role)

    def of_training(self) -> dict[str, StepSpec]:
        """What a student is trained on, and what it starts from."""
        inputs = {
            "scenes": self.scenes,
            "prepared": self.prepared,
            "samples": self.samples,
            "student": self.student,
        }
        made = {"features": self.features, "teacher_depth": self.depth}
        return inputs | {name: each for name, each in made.items() if each is not None}

    def judged(self, student: StepSpec) -> dict[str, StepSpec]:
        """What is found out about a student that training has made: its own steps, by role."""
        steps: dict[str, StepSpec] = {}
        for role, step in self._judging.items():
            inputs = {
                name: student if name == "student" else each for name, each in step.inputs.items()
            }
            if role == "score":
                inputs["predictions"] = steps["predict"]
            steps[role] = replace(step, inputs=inputs)
        return steps

    def _judged(self) -> dict[str, StepSpec]:
        """As `judged`, of the student that training starts from."""
        common, steps = self._common, dict[str, StepSpec]()
        reads = {"scenes": self.scenes, "prepared": self.prepared, "student": self.student}
        if common.fuses and self.features is not None:
            reads["features"] = self.features
        if not common.student_config.blind and common.scenes.has_geometry:
            steps["probe"] = self._probe("student", reads)
        benchmarks = common.benchmarks
        predict = PredictParams(
            student=choose(common.student_config),
            evaluation=common.evaluation,
            asking={name: benchmarks.asking(name) for name in benchmarks.names},
            missing_scenes=benchmarks.missing_scenes,
        )
        steps["predict"] = predict.step("predict", {**reads, "samples": self.samples})
        answers = {"samples": self.samples, "predictions": steps["predict"]}
        steps["score"] = score_params(benchmarks).step("score", answers)
        return steps

    def _named(self) -> dict[str, StepSpec]:
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
            own = self._common.frames == "student"
            if not self._common.held_out and own and self._common.scenes.has_geometry:
                steps["probe_teacher"] = self._probe("teacher", inputs)
        if self.depth is not None:
            steps["extract_depth"] = self.depth
        return steps

    def _scenes(self, role: Role) -> StepSpec:
        scenes = self._common.scenes.of_role(role)
        content = {
            setting: self._digests.of(path, setting) for setting, path in scenes.data().items()
        }
        params = ScenesParams(scenes=choose(scenes), role=role, content=content)
        return params.step("scenes", {}, label=role)

    def _student(self) -> StepSpec:
        student = self._common.student_config.start()
        if student.checkpoint is not None:
            setting = f"students.{self._common.student}.checkpoint"
            weights = self._digests.of(student.checkpoint, setting)
            return PretrainParams(student=choose(student), weights=weights).step("pretrain", {})
        recipe = self._common.student_pretraining
        params = PretrainParams(student=choose(student), student_pretraining=recipe)
        return params.step("pretrain", {"scenes": self.scenes})

    def _teacher(self) -> StepSpec | None:
        teacher, settings = self._common.teacher_config, self._common.teacher_recipe
        if teacher is None or settings is None:
            return None
        recipe = pretraining_of(teacher, settings)
        inputs = {"scenes": self._scenes("teacher")}
        return TeacherParams(pretraining=choose(recipe)).step(
            "teacher", inputs, label=self._common.teacher
        )

    def _features(self) -> StepSpec | None:
        common, scenes = self._common, self._common.scenes
        if not common.reads_features:
            return None
        splits = {scenes.annotated_split}
        if scenes.has_geometry:  # else nobody probes the teacher
            splits |= {scenes.probe_split, common.benchmarks.split}
        if common.fuses:
            splits |= {common.benchmarks.split}
        return self._extract("features", splits, common.teacher)

    def _depth(self) -> StepSpec | None:
        common = self._common
        if not common.reads_depth:
            return None
        return self._extract("depth", {common.scenes.annotated_split}, f"{common.teacher} depth")

    def _extract(
        self, gives: Literal["features", "depth"], splits: Collection[str], label: str
    ) -> StepSpec | None:
        """What a teacher, where there is one, makes of the scenes of some splits."""
        common, teacher = self._common, self._common.teacher_config
        if teacher is None:
            return None
        if gives == "depth":  # of whatever layer its features are
            teacher = teacher.model_copy(
                update={"layer": type(teacher).model_fields["layer"].default}
            )
        inputs, weights = {"scenes": self.scenes}, None
        if self.teacher is not None:
            inputs["teacher"] = self.teacher
        elif teacher.checkpoint is not None:
            weights = self._digests.of(teacher.checkpoint, "teachers.*.checkpoint")
        params = ExtractParams(
            teacher=choose(teacher),
            scenes=self._reader,
            weights=weights,
            grid=common.prepare.grid,
            area=common.teacher_area,
            num_frames=common.prepare.num_frames,
            coverage_voxel_m=common.prepare.coverage_voxel_m,
            splits=tuple(sorted(splits)),
            statistics_split=common.scenes.annotated_split,
            on_bad_scene=common.prepare.on_bad_scene,
            frames=common.frames,
            scene_ids=self._scene_ids,
            gives=gives,
        )
        return params.step("extract", inputs, label=label)

    def _probe(self, label: str, inputs: Mapping[str, StepSpec]) -> StepSpec:
        common, of_student = self._common, "student" in inputs
        # Stored features are of one place.
        probe = common.probe if of_student else common.probe.model_copy(update={"places": ()})
        params = ProbeParams(
            probe=probe,
            fit_split=common.scenes.probe_split,
            test_split=common.benchmarks.split,
            held_out=self._held_out(),
            student=choose(common.student_config) if of_student else None,
            evaluation=common.evaluation if of_student else None,
        )
        return params.step("probe", inputs, label=label)

    def _held_out(self) -> HeldOut | None:
        """Which scenes are taken out of training and evaluated, where some are."""
        if not self._common.held_out:
            return None
        return HeldOut(share=self._common.held_out, split=self._common.scenes.annotated_split)
