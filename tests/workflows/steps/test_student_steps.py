"""The steps of a student, one after another over a small micro world."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from threedrs_components.benchmarks.config import BenchmarksConfig
from threedrs_components.benchmarks.held_out import HeldOut
from threedrs_components.benchmarks.prediction_files import read_predictions
from threedrs_components.benchmarks.sample_files import read_samples
from threedrs_components.objectives.registry import ObjectivesConfig
from threedrs_components.pretraining.student_config import MicroPretrainingConfig
from threedrs_components.probing.config import ProbeConfig
from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.write import write_world
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.prepared import PreparedScenes, write_prepared
from threedrs_components.scenes.rgbd_folder import WrittenScenesConfig
from threedrs_components.scenes.splits import scenes_of
from threedrs_components.students.fusion_settings import FusionSettings
from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.students.settings import MicroWidths
from threedrs_components.testing.prompts import bare_prompts
from threedrs_components.testing.synthetic import write_random_features
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.stages import Stage, run_stage
from threedrs_platform.config.kinds import choose
from threedrs_platform.errors import ConfigError, DataError, StepFailed
from threedrs_platform.fake_gpus import FAKE_GPUS
from threedrs_platform.records import Metric, SampleScore
from threedrs_platform.sealed import take_over
from threedrs_platform.steps import StepTask
from threedrs_workflows.plan.benchmark_params import samples_params, score_params
from threedrs_workflows.steps import finetune, predict, prepare, pretrain, probe, samples, score
from threedrs_workflows.steps.params import StepParams
from threedrs_workflows.steps.params.finetune import FinetuneParams
from threedrs_workflows.steps.params.predict import PredictParams
from threedrs_workflows.steps.params.prepare import PrepareParams
from threedrs_workflows.steps.params.pretrain import PretrainParams
from threedrs_workflows.steps.params.probe import ProbeParams

pytestmark = pytest.mark.whole

WIDTHS = MicroWidths(
    vision_width=16, vision_heads=2, vision_ff=32, width=32, heads=2, key_value_heads=2, ff=64
)
STUDENT = choose(LlavaVideoConfig(micro=WIDTHS))
PROBE = ProbeParams(
    probe=ProbeConfig(folds=2), fit_split="probe", test_split="val", student=STUDENT
)


@dataclass
class Reports:
    """A recorder that keeps everything."""

    metrics: dict[str, Metric] = field(default_factory=dict)
    curves: dict[int, dict[str, float]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def progress(self, done: int, total: int, note: str) -> None:
        assert 0 <= done <= total

    def metric(self, metric: Metric) -> None:
        self.metrics[metric.name] = metric

    def sample_scores(self, scores: Iterable[SampleScore]) -> None:
        raise AssertionError("no student step scores")

    def curve(self, step: int, values: Mapping[str, float]) -> None:
        self.curves[step] = dict(values)

    def warn(self, message: str) -> None:
        self.warnings.append(message)


def task(
    root: Path, name: str, params: StepParams, inputs: dict[str, Path]
) -> tuple[StepTask, Reports]:
    out, scratch = root / name, root / f"{name}-scratch"
    out.mkdir()
    scratch.mkdir(exist_ok=True)
    reports = Reports()
    return StepTask(params.identity(), inputs, out, scratch, reports, params.remainder()), reports


def prepare_params(**settings: Any) -> PrepareParams:
    config = PrepareConfig(num_frames=3, **settings)
    scenes = choose(WrittenScenesConfig())
    return PrepareParams(prepare=config, scenes=scenes, trained_split="text")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("world")
    config = MicroWorldConfig(train=6, text=3, val=2, teacher_scenes=2, num_frames=3)
    write_world(config, root / "scenes", "student")
    scenes = {"scenes": root / "scenes"}
    prepare.run(task(root, "prepared", prepare_params(), scenes)[0])
    benchmarks = BenchmarksConfig(prompts=bare_prompts())
    samples.run(task(root, "samples", samples_params(benchmarks), scenes)[0])
    recipe = MicroPretrainingConfig(
        tower_steps=3, tower_images=4, language_steps=3, language_frames=4, evaluation_frames=4
    )
    start = PretrainParams(student=STUDENT, student_pretraining=recipe)
    step, reports = task(root, "student", start, scenes)
    pretrain.run(step)
    assert {"tower/category", "tower/color", "language/ground"} <= set(reports.metrics)
    return root


def finetune_params(**training: Any) -> FinetuneParams:
    config = ObjectivesConfig.model_validate({"correspondence": {"weight": 0.1}})
    return FinetuneParams(
        student=STUDENT,
        objectives=tuple(choose(each, each.modules()) for each in config.active(has_teacher=False)),
        training=TrainingConfig(
            steps=4, scenes_per_step=2, questions_per_scene=5, log_every=2, **training
        ),
        text_split="text",
        seed=1,
    )


def predict_params(**changes: Any) -> PredictParams:
    config = BenchmarksConfig(names=("scanrefer", "scan2cap", "scanqa"))
    changed = {name: config.asking(name).model_copy(update=changes) for name in config.names}
    return PredictParams(student=STUDENT, asking=changed)


def inputs_of(world: Path) -> dict[str, Path]:
    return {name: world / name for name in ("scenes", "prepared", "samples", "student")}


ANSWERED = ("predictions", "spread predictions")
"""By one process, and by one for each of two GPUs."""


def test_finetuning_and_prediction_answer_every_sample(
    world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, reports = task(world, "trained", finetune_params(), inputs_of(world))
    finetune.run(step)
    assert sorted(reports.curves) == [2, 4]
    assert "loss/correspondence" in reports.curves[4]
    assert reports.metrics["training/seconds_per_scene"].value > 0
    inputs = inputs_of(world) | {"student": world / "trained"}
    step, reports = task(world, "predictions", predict_params(), inputs)
    predict.run(step)
    answered = {p.sample_id for p in read_predictions(world / "predictions/predictions.jsonl")}
    wanted = {s.sample_id for s in read_samples(world / "samples/evaluation.jsonl")}
    assert answered == wanted
    assert not reports.warnings
    first, second, *_ = sorted(step.scratch.glob("*.jsonl"))
    lines = first.read_text().splitlines(keepends=True)
    assert len(lines) > 1
    first.write_text("".join(lines[:-1]))  # cut at a line end: each line is as it should be
    second.write_text("")
    again = replace(step, out=world / "predictions again")
    again.out.mkdir()
    predict.run(again)
    assert len(reports.warnings) == 2 and "damaged" in reports.warnings[0]
    told = [(folder / "predictions.jsonl").read_text() for folder in (step.out, again.out)]
    assert told[0] == told[1]
    monkeypatch.setenv(FAKE_GPUS, "2")
    step, _ = task(world, "spread predictions", predict_params(), inputs)
    predict.run(replace(step, settings={**step.settings, "gpus": 2}))
    texts = [(world / name / "predictions.jsonl").read_text() for name in ANSWERED]
    assert texts[0] == texts[1]


def test_a_resumed_training_tells_the_same_as_an_undisturbed_one(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = finetune_params(checkpoint_every=2)
    whole, undisturbed = task(tmp_path, "whole", params, inputs_of(world))
    finetune.run(whole)
    step, _ = task(tmp_path, "trained", params, inputs_of(world))
    with monkeypatch.context() as broken:
        broken.setattr(finetune, "report_training", _die)
        broken.setattr("threedrs_components.training.loop.save_student", _die)
        with pytest.raises(KeyboardInterrupt):
            finetune.run(step)
    reports = Reports()
    finetune.run(replace(step, recorder=reports))
    cost = "training/seconds_per_scene"
    told = [
        {name: metric for name, metric in each.metrics.items() if "/seconds_" not in name}
        for each in (undisturbed, reports)
    ]
    assert told[0] == told[1] and told[0]["training/loss"].n == 4
    assert list(reports.curves) == list(undisturbed.curves)
    assert reports.metrics[cost].n < undisturbed.metrics[cost].n  # it did resume


def test_a_student_with_fusion_reads_features_in_every_step_or_refuses(
    world: Path, tmp_path: Path
) -> None:
    prepared = PreparedScenes(world / "prepared")
    for number, scene in enumerate(prepared):
        write_random_features(scene, tmp_path / "features", 8, number)
    fused = finetune_params().model_copy(update={"fusion": FusionSettings(mode="add")})
    inputs = inputs_of(world) | {"features": tmp_path / "features"}
    step, reports = task(tmp_path, "trained", fused, inputs)
    finetune.run(step)
    assert reports.metrics["training/parameters/fusion"].value > 0
    assert reports.metrics["training/parameters"].unit == "M"
    inputs["student"] = tmp_path / "trained"
    step, reports = task(tmp_path, "predictions", predict_params(), inputs)
    predict.run(step)
    answers = read_predictions(tmp_path / "predictions/predictions.jsonl")
    assert reports.metrics["prediction/seconds_per_scene"].n == 2
    (tmp_path / "features" / f"{sorted(by_split(world, 'val'))[0]}.arrow").unlink()
    refused, _ = task(tmp_path, "fewer", predict_params(), inputs)
    with pytest.raises(DataError, match="1 scenes that could not be prepared, or have no features"):
        predict.run(refused)
    del inputs["features"]
    for number, run in enumerate((predict.run, probe.run)):
        params = predict_params() if run is predict.run else PROBE
        step, _ = task(tmp_path, f"without {number}", params, inputs)
        with pytest.raises(ConfigError, match="extract them for these scenes"):
            run(step)
    assert len(answers) > 10


def by_split(world: Path, split: str) -> list[str]:
    return list(scenes_of(world / "scenes", split))


def _die(*_: Any) -> None:
    raise KeyboardInterrupt


def test_a_scene_that_was_skipped_is_named(world: Path, tmp_path: Path) -> None:
    fewer = tmp_path / "prepared"
    fewer.mkdir()
    kept = sorted((world / "prepared").glob("*.safetensors"))
    for path in kept[1:]:
        (fewer / path.name).symlink_to(path)
    inputs = inputs_of(world) | {"prepared": fewer}
    step, reports = task(tmp_path, "trained", finetune_params(), inputs)
    assert len(finetune.training_inputs(step).samples) == 2
    assert kept[0].stem in reports.warnings[0]


def test_training_on_an_evaluated_scene_is_refused(world: Path, tmp_path: Path) -> None:
    leaking = tmp_path / "samples"
    leaking.mkdir()
    for name in ("train.jsonl", "evaluation.jsonl"):
        shutil.copy(world / "samples/train.jsonl", leaking / name)
    inputs = inputs_of(world) | {"samples": leaking}
    step, _ = task(tmp_path, "trained", finetune_params(), inputs)
    with pytest.raises(DataError, match=r"3 scenes are in the split 'text'"):
        finetune.training_inputs(step)


def test_what_is_learned_and_what_is_asked_are_chosen_apart(world: Path, tmp_path: Path) -> None:
    config = BenchmarksConfig(
        names=("scanqa", "scanrefer"),
        training=("scanqa",),
        splits={"scanrefer": "train"},
        prompts=bare_prompts(),
    )
    scenes = {"scenes": world / "scenes"}
    step, _ = task(tmp_path, "samples", samples_params(config), scenes)
    samples.run(step)
    learned = read_samples(step.out / "train.jsonl")
    asked = read_samples(step.out / "evaluation.jsonl")
    assert {each.benchmark for each in learned} == {"scanqa"}
    prefixes = {(each.benchmark, each.scene_id[:3]) for each in asked}
    assert prefixes == {("scanqa", "val"), ("scanrefer", "tra")}


def test_an_evaluated_scene_without_proposals_is_refused_unless_the_oracle_is_chosen(
    world: Path, tmp_path: Path
) -> None:
    for scene in PreparedScenes(world / "prepared"):
        write_prepared(replace(scene, has_proposals=False), tmp_path / "prepared")
    inputs = inputs_of(world) | {"prepared": tmp_path / "prepared"}
    step, _ = task(tmp_path, "refused", predict_params(), inputs)
    with pytest.raises(DataError, match=r"scene val00000: no proposals.*benchmarks\.candidates"):
        predict.run(step)
    step, _ = task(tmp_path, "oracle", predict_params(candidates="ground_truth"), inputs)
    predict.run(step)
    found = read_predictions(step.out / "predictions.jsonl")
    true_boxes = {len(scene.boxes) for scene in PreparedScenes(world / "prepared")}
    assert {len(each.boxes) for each in found if each.scores} <= true_boxes


def test_answers_are_as_long_as_the_benchmark_allows(world: Path, tmp_path: Path) -> None:
    step, _ = task(tmp_path, "short", predict_params(max_new_tokens=1), inputs_of(world))
    predict.run(step)
    texts = [each.text for each in read_predictions(step.out / "predictions.jsonl")]
    assert max(len((text or "").split()) for text in texts) <= 1


def test_a_loss_that_is_not_finite_ends_a_stage(tmp_path: Path) -> None:
    module = torch.nn.Linear(1, 1)
    stage = Stage("tower", 3, 1e-3, 1, tmp_path)
    with pytest.raises(StepFailed, match="tower_learning_rate"):
        run_stage(
            stage, module, lambda step: module.weight.sum() * torch.nan, lambda *_: None, print
        )
    assert not list(stage.states.iterdir())


def test_real_weights_are_pointed_at(world: Path, tmp_path: Path) -> None:
    student = choose(LlavaVideoConfig(checkpoint=str(world / "student"), micro=WIDTHS))
    step, _ = task(tmp_path, "start", PretrainParams(student=student, weights="digest"), {})
    pretrain.run(step)
    inputs = inputs_of(world) | {"student": step.out}
    step, _ = task(
        tmp_path, "trained", finetune_params().model_copy(update={"student": student}), inputs
    )
    found = finetune.training_inputs(step)
    assert found.student.checkpoint == str((world / "student").resolve())
    assert found.start == "digest"


def test_pretraining_resumes_into_the_same_student(world: Path, tmp_path: Path) -> None:
    recipe = MicroPretrainingConfig(
        tower_steps=3, tower_images=4, language_steps=3, language_frames=4, evaluation_frames=4
    )
    start = PretrainParams(student=STUDENT, student_pretraining=recipe)
    step, _ = task(tmp_path, "student", start, {"scenes": world / "scenes"})
    take_over(world / "student-scratch", step.scratch)
    for path in step.scratch.glob("language-*"):
        path.unlink()
    pretrain.run(step)
    for name in ("model.safetensors", "config.json", "tokenizer.json"):
        assert (step.out / name).read_bytes() == (world / "student" / name).read_bytes(), name


def test_held_out_scenes_are_asked_but_not_trained_on(world: Path, tmp_path: Path) -> None:
    held_out = HeldOut(share=0.3, split="text")
    config = BenchmarksConfig(prompts=bare_prompts())
    asked_for = samples_params(config, held_out=held_out)
    step, _ = task(tmp_path, "samples", asked_for, inputs_of(world))
    samples.run(step)
    asked = read_samples(step.out / "evaluation.jsonl")
    trained = {sample.scene_id for sample in read_samples(step.out / "train.jsonl")}
    assert {sample.scene_id for sample in asked} == {"train00002"}
    assert trained == {"train00000", "train00001"}
    assert {sample.benchmark for sample in asked} == {"scanrefer", "scan2cap", "scanqa"}

    inputs = inputs_of(world) | {"samples": step.out}
    step, reports = task(tmp_path, "trained", finetune_params(validate_every=2), inputs)
    finetune.run(step)
    assert {"validation/loss", "validation/accuracy"} <= set(reports.curves[2])

    inputs |= {"student": step.out}
    step, reports = task(tmp_path, "predictions", predict_params(), inputs)
    predict.run(step)
    assert not reports.warnings
    inputs |= {"predictions": step.out}
    recorder = KeepScores()
    params = score_params(config)
    score.run(
        StepTask(params.identity(), inputs, step.out, step.scratch, recorder, params.remainder())
    )
    assert recorder.metrics["scanrefer/acc@0.25"].n > 0
    assert recorder.metrics["scanqa/missing"].value == 0
    assert recorder.scenes == {"train00002"}


@dataclass
class KeepScores(Reports):
    """Keeps the scenes that were scored, too."""

    scenes: set[str] = field(default_factory=set)

    def sample_scores(self, scores: Iterable[SampleScore]) -> None:
        self.scenes |= {score.scene_id for score in scores}


def test_training_never_looks_at_the_evaluated_split(world: Path, tmp_path: Path) -> None:
    step, _ = task(tmp_path, "trained", finetune_params(validate_every=2), inputs_of(world))
    assert finetune.training_inputs(step).validation == {}


def test_scenes_to_train_on_and_others_are_prepared_in_their_own_arithmetic(
    world: Path, tmp_path: Path
) -> None:
    scenes = {"scenes": world / "scenes"}
    params = prepare_params(arithmetic="bfloat16", evaluation_arithmetic="float16")
    prepare.run(task(tmp_path, "prepared", params, scenes)[0])
    found = PreparedScenes(tmp_path / "prepared")
    source = WrittenScenesConfig().open(world / "scenes")
    assert source.scenes("text") and source.scenes("val")
    for split, dtype in (("text", torch.bfloat16), ("val", torch.float16)):
        for scene_id in source.scenes(split):
            exact = PreparedScenes(world / "prepared")[scene_id].boxes
            assert torch.equal(found[scene_id].boxes, exact.to(dtype).float())
