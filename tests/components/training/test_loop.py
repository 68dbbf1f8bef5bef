"""Training resumes bitwise, is deterministic, and refuses what cannot work."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from threedrs_components.objectives.alignment.config import AlignmentConfig
from threedrs_components.objectives.alignment.objective import build_alignment
from threedrs_components.objectives.correspondence import CorrespondenceConfig
from threedrs_components.objectives.objective import Objective, TeacherFeatures
from threedrs_components.objectives.reconstruction.config import ReconstructionConfig
from threedrs_components.objectives.text import TextConfig
from threedrs_components.scenes.prepared import PreparedScenes, scene_pairs, write_prepared
from threedrs_components.students.build import build_student
from threedrs_components.students.checkpoints import save_student
from threedrs_components.students.fusion_settings import FusionSettings
from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.students.registry import open_student
from threedrs_components.teachers.maps import teacher_map
from threedrs_components.testing.synthetic import (
    TASKS,
    random_samples,
    random_scene,
    random_student,
    write_random_features,
)
from threedrs_components.training.checkpoints import (
    forget_damaged,
    newest_checkpoint,
    seconds_between,
)
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.data import TrainingData
from threedrs_components.training.launch import train_here
from threedrs_components.training.loop import TrainingInputs, TrainingSummary, train
from threedrs_components.training.strategies import World
from threedrs_platform.errors import CheckpointError, ConfigError, DataError, StepFailed
from threedrs_platform.records import FeatureMap
from threedrs_platform.store.features import FeatureFolder, FeatureHeader, write_features

SCENES = ("a", "b", "c", "d")
HEADER = FeatureHeader("fake", "0" * 64, "none", "none", -1)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> TrainingInputs:
    root = tmp_path_factory.mktemp("training")
    student = random_student()
    save_student(student, root / "student")
    samples = {}
    for number, name in enumerate(SCENES):
        scene = random_scene(name, number)
        write_prepared(scene, root / "prepared")
        samples[name] = random_samples(scene, 6, number)
        write_random_features(scene, root / "features", 8, number)
    return TrainingInputs(
        student=LlavaVideoConfig(checkpoint=str(root / "student")),
        prepared=root / "prepared",
        samples=samples,
        training=TrainingConfig(
            steps=6,
            scenes_per_step=2,
            questions_per_scene=4,
            checkpoint_every=2,
            log_every=3,
            shuffle_frames=True,
        ),
        objectives=(
            *TASKS,
            AlignmentConfig(standardise=True, layers=(-1, -2)),
            CorrespondenceConfig(weight=0.5, level="token", voxel_m=1.0),
        ),
        features=root / "features",
        seed=3,
    )


class Stopped(Exception):
    """Stands for a killed process."""


def run(
    inputs: TrainingInputs, folder: Path, stop_after: int | None = None
) -> tuple[TrainingSummary, dict[int, dict[str, float]]]:
    curve: dict[int, dict[str, float]] = {}

    def report(step: int, values: dict[str, float]) -> None:
        curve[step] = values
        if step == stop_after:
            raise Stopped

    summary = train(
        inputs, report=report, checkpoint_dir=folder / "checkpoints", out=folder / "out"
    )
    return summary, curve


def weights(folder: Path) -> dict[str, Tensor]:
    return load_file(folder / "out" / "model.safetensors")


def lasting(values: dict[str, float]) -> dict[str, float]:
    """What does not depend on the machine."""
    return {k: v for k, v in values.items() if not k.startswith(("speed/", "memory/"))}


def test_a_resumed_run_ends_in_the_same_bits(inputs: TrainingInputs, tmp_path: Path) -> None:
    _, undisturbed = run(inputs, tmp_path / "whole")
    with pytest.raises(Stopped):
        run(inputs, tmp_path / "broken", stop_after=3)
    summary, rest = run(inputs, tmp_path / "broken")
    assert summary.resumed_from == 2
    expected = weights(tmp_path / "whole")
    for name, tensor in weights(tmp_path / "broken").items():
        assert torch.equal(tensor, expected[name]), name
    assert lasting(rest[6]) == lasting(undisturbed[6])
    assert sorted(path.name for path in (tmp_path / "broken/checkpoints").iterdir()) == [
        "step-0000002",
        "step-0000004",
    ]


def test_a_resumed_run_tells_its_whole_curve_once(inputs: TrainingInputs, tmp_path: Path) -> None:
    _, undisturbed = run(inputs, tmp_path / "whole")
    steps: list[int] = []
    with pytest.raises(Stopped):
        run(inputs, tmp_path / "broken", stop_after=6)
    train_here(
        inputs,
        report=lambda step, _: steps.append(step),
        checkpoint_dir=tmp_path / "broken/checkpoints",
        out=tmp_path / "broken/out",
    )
    assert steps == list(undisturbed)


def test_a_flipped_bit_in_a_checkpoint_never_changes_the_weights(
    inputs: TrainingInputs, tmp_path: Path
) -> None:
    run(inputs, tmp_path / "whole")
    with pytest.raises(Stopped):
        run(inputs, tmp_path / "broken", stop_after=6)
    newest, before = (tmp_path / "broken/checkpoints" / f"step-000000{step}" for step in (4, 2))
    chance, files = random.Random(0), [path for path in sorted(newest.iterdir())]
    told: list[str] = []
    for _ in range(70):
        file = chance.choices(files, [path.stat().st_size for path in files])[0]
        trial = tmp_path / "trial"
        shutil.copytree(newest, trial / newest.name)
        flip(trial / newest.name / file.name, chance)
        forget_damaged(trial, told.append)
        assert newest_checkpoint(trial) is None
        shutil.rmtree(trial)
    assert len(told) == 70
    for left, damaged in ((2, [newest]), (0, [newest, before])):
        folder = tmp_path / str(left)
        shutil.copytree(tmp_path / "broken/checkpoints", folder / "checkpoints")
        for each in damaged:
            flip(folder / "checkpoints" / each.name / "state.pt", chance)
        told.clear()
        summary = train_here(
            inputs,
            report=lambda step, values: None,
            checkpoint_dir=folder / "checkpoints",
            out=folder / "out",
            warn=told.append,
        )
        assert summary.resumed_from == left and len(told) == len(damaged)
        expected = weights(tmp_path / "whole")
        for name, tensor in weights(folder).items():
            assert torch.equal(tensor, expected[name]), name


def test_a_training_on_pairs_of_pixels_reads_them(inputs: TrainingInputs, tmp_path: Path) -> None:
    for scene in map(PreparedScenes(inputs.prepared).__getitem__, SCENES):
        pairs = scene_pairs(scene, level="token", voxel_m=1.0)
        write_prepared(replace(scene, pairs=pairs, voxel_m=1.0), tmp_path / "prepared")
    by_pixel = replace(
        inputs,
        prepared=tmp_path / "prepared",
        objectives=tuple(
            each.model_copy(update={"level": "pixel"})
            if isinstance(each, CorrespondenceConfig)
            else each
            for each in inputs.objectives
        ),
    )
    (_, pixel), (_, token) = run(by_pixel, tmp_path / "pixel"), run(inputs, tmp_path / "token")
    assert lasting(pixel[3]) == lasting(token[3])


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


def test_every_loss_is_reported_and_gradients_flow(inputs: TrainingInputs, tmp_path: Path) -> None:
    _, curve = run(inputs, tmp_path)
    assert {"loss", "loss/text", "loss/grounding", "loss/alignment"} <= set(curve[3])
    layers = [curve[3][f"alignment/layer{layer}"] for layer in (-1, -2)]
    assert sum(layers) / 2 == pytest.approx(curve[3]["loss/alignment"])
    assert curve[3]["speed/tokens_per_second"] > 0 and curve[3]["memory/cpu_gib"] > 0.01
    assert {"loss/correspondence", "grounding/accuracy", "gradient_norm"} <= set(curve[3])
    assert curve[3]["gradient_norm"] > 0
    before = load_file(Path(str(inputs.student.checkpoint)) / "model.safetensors")
    after = weights(tmp_path)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert "model.model.vision_tower.encoder.layers.0.mlp.fc1.weight" in moved
    assert "grounding.no_object" in moved


def test_a_frozen_tower_does_not_move(inputs: TrainingInputs, tmp_path: Path) -> None:
    training = inputs.training.model_copy(update={"vision_learning_rate_factor": 0.0, "steps": 2})
    run(replace(inputs, training=training), tmp_path)
    before = load_file(Path(str(inputs.student.checkpoint)) / "model.safetensors")
    after = weights(tmp_path)
    tower = [name for name in before if ".vision_tower." in name]
    assert tower and all(torch.equal(before[name], after[name]) for name in tower)


def test_accumulated_rounds_give_the_same_step(inputs: TrainingInputs, tmp_path: Path) -> None:
    one = inputs.training.model_copy(update={"steps": 2})
    two = one.model_copy(update={"gradient_accumulation": 2})
    run(replace(inputs, training=one), tmp_path / "one")
    run(replace(inputs, training=two), tmp_path / "two")
    expected = weights(tmp_path / "one")
    for name, tensor in weights(tmp_path / "two").items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-3, atol=1e-4, msg=name)


def test_a_checkpoint_of_another_seed_is_refused(inputs: TrainingInputs, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(inputs, tmp_path, stop_after=3)
    with pytest.raises(CheckpointError, match="another configuration"):
        run(replace(inputs, seed=4), tmp_path)


def test_a_truncated_checkpoint_is_refused(inputs: TrainingInputs, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        run(inputs, tmp_path, stop_after=3)
    state = tmp_path / "checkpoints/step-0000002/state.pt"
    state.write_bytes(state.read_bytes()[:500])
    with pytest.raises(CheckpointError, match="does not fit"):
        run(inputs, tmp_path)


def test_an_unfinished_checkpoint_is_not_continued(inputs: TrainingInputs, tmp_path: Path) -> None:
    (tmp_path / "checkpoints/unfinished-step-0000004").mkdir(parents=True)
    summary, _ = run(inputs, tmp_path)
    assert summary.resumed_from == 0


def test_alignment_without_features_is_refused(inputs: TrainingInputs, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs teacher features"):
        run(replace(inputs, features=None), tmp_path)


def test_a_training_without_scenes_is_refused(inputs: TrainingInputs, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no scene to train on"):
        run(replace(inputs, samples={}), tmp_path)


def test_a_blind_student_cannot_be_aligned(inputs: TrainingInputs, tmp_path: Path) -> None:
    blind = inputs.student.model_copy(update={"blind": True})
    with pytest.raises(ConfigError, match="no visual tokens"):
        run(replace(inputs, student=blind), tmp_path)


def test_divergence_is_an_error_and_leaves_no_checkpoint(
    inputs: TrainingInputs, tmp_path: Path
) -> None:
    training = inputs.training.model_copy(update={"learning_rate": 1e30, "checkpoint_every": 5})
    with pytest.raises(StepFailed, match="training diverged at step"):
        run(replace(inputs, training=training), tmp_path)
    assert not list(tmp_path.glob("checkpoints/step-*"))


def test_scenes_must_divide_among_rounds(inputs: TrainingInputs, tmp_path: Path) -> None:
    odd = inputs.training.model_copy(update={"gradient_accumulation": 3})
    with pytest.raises(ConfigError, match="use a multiple of 3"):
        run(replace(inputs, training=odd), tmp_path)


def test_teacher_features_of_other_frames_are_refused(
    inputs: TrainingInputs, tmp_path: Path
) -> None:
    for name in SCENES:
        values = np.zeros((2, 4, 4, 8), np.float16)
        features = FeatureMap(name, ("frame-000000", "frame-000007"), values)
        write_features(tmp_path / f"{name}.arrow", features, HEADER)
    with pytest.raises(DataError, match="frame 1 is 'frame-000001'"):
        run(replace(inputs, features=tmp_path), tmp_path)


@pytest.mark.parametrize(
    ("frames", "grid", "complaint"),
    [
        (("frame-000000", "frame-000007"), 4, "frame 1 is 'frame-000001'"),
        (("frame-000000", "frame-000001", "frame-000002"), 4, "the features have 3"),
        (("frame-000000", "frame-000001"), 5, "grid is '[45]x[45]' for scene"),
    ],
)
def test_features_of_any_scene_are_refused_before_the_first_step(
    frames: tuple[str, ...], grid: int, complaint: str, inputs: TrainingInputs, tmp_path: Path
) -> None:
    """Also where it is the last scene that training would meet."""
    first = {visit.scene_id for visit in data_of(inputs, inputs.seed).plan(0).scenes}
    (spoiled, *others) = sorted(set(SCENES) - first)
    for name in (*first, *others):
        shutil.copy(Path(str(inputs.features)) / f"{name}.arrow", tmp_path)
    values = np.zeros((len(frames), grid, grid, 8), np.float16)
    write_features(tmp_path / f"{spoiled}.arrow", FeatureMap(spoiled, frames, values), HEADER)
    curve: dict[int, dict[str, float]] = {}
    chosen = inputs.training.model_copy(update={"log_every": 1})
    with pytest.raises(DataError, match=complaint):
        train(
            replace(inputs, features=tmp_path, training=chosen),
            report=curve.__setitem__,
            checkpoint_dir=tmp_path / "checkpoints",
            out=tmp_path / "out",
        )
    assert not curve


def test_teacher_features_of_several_extractions_are_refused(
    inputs: TrainingInputs, tmp_path: Path
) -> None:
    for layer, name in enumerate(SCENES):
        frames = PreparedScenes(inputs.prepared)[name].frame_names
        features = FeatureMap(name, frames, np.zeros((len(frames), 4, 4, 8), np.float16))
        write_features(tmp_path / f"{name}.arrow", features, replace(HEADER, layer=layer))
    with pytest.raises(DataError, match="features of several extractions: layer is 0 for scene"):
        run(replace(inputs, features=tmp_path), tmp_path / "out")


def test_correspondences_are_of_the_level_that_is_chosen(inputs: TrainingInputs) -> None:
    """Random scenes have no pixels, so only their tokens can correspond."""
    student = build_student(inputs.student)
    token, pixel = (
        CorrespondenceConfig.model_validate({"weight": 1.0, "level": level}).build(student)
        for level in ("token", "pixel")
    )
    assert data_of(inputs, 3, token).scene("a").targets["correspondence"].num_tokens == 32
    with pytest.raises(DataError, match="has no pixels; use the level 'token'"):
        data_of(inputs, 3, pixel).scene("a")


def test_features_of_all_images_on_disk_only_need_as_many_frames(
    inputs: TrainingInputs, tmp_path: Path
) -> None:
    scene = PreparedScenes(inputs.prepared)[SCENES[0]]
    for name, frames in (("two", 2), ("three", 3)):
        values = np.full((frames, 4, 4, 8), frames, np.float16)
        names = tuple(f"frame-{index:06d}" for index in range(5, 5 + frames))
        write_features(
            tmp_path / name / f"{SCENES[0]}.arrow", FeatureMap(SCENES[0], names, values), HEADER
        )
    assert (teacher_map(FeatureFolder(tmp_path / "two"), scene, "all_images") == 2).all()
    for folder, frames_of in (("two", "student"), ("three", "all_images")):
        with pytest.raises(DataError, match="extract the features again"):
            teacher_map(FeatureFolder(tmp_path / folder), scene, frames_of)  # type: ignore[arg-type]


def test_teacher_features_stay_as_stored_until_they_are_used(inputs: TrainingInputs) -> None:
    assert inputs.features is not None
    teacher = TeacherFeatures(inputs.features, PreparedScenes(inputs.prepared), SCENES)
    data = data_of(inputs, 3, build_alignment(AlignmentConfig(), [48], teacher))
    held = data.scene("a").targets["alignment"]
    assert held.dtype == np.float16
    assert not held.flags.owndata and not held.flags.writeable
    used = data.assemble([data.plan(0).scenes[0]]).targets["alignment"]
    assert used.dtype == torch.float16


def test_a_checkpoint_belongs_to_the_content_of_the_start_not_to_its_place(
    inputs: TrainingInputs, tmp_path: Path
) -> None:
    start = Path(str(inputs.student.checkpoint))
    moved, other = tmp_path / "moved", tmp_path / "other"
    shutil.copytree(start, moved)
    save_student(random_student(seed=1), other)

    def identity(folder: Path, digest: str = "") -> str:
        student = inputs.student.model_copy(update={"checkpoint": str(folder)})
        return replace(inputs, student=student, start=digest).identity(World())

    assert identity(start) == identity(moved) != identity(other)
    assert identity(start, "known") == identity(other, "known") != identity(other, "else")


def test_a_checkpoint_belongs_to_the_objectives_that_are_on_however_work_is_done(
    inputs: TrainingInputs,
) -> None:
    def identity(**changes: Any) -> str:
        return replace(inputs, **changes).identity(World())

    often = inputs.training.model_copy(update={"checkpoint_every": 7, "gradient_accumulation": 2})
    heavier = (*inputs.objectives[:-1], CorrespondenceConfig(weight=0.6))
    assert identity(training=often) == identity()
    assert len({identity(), identity(objectives=heavier), identity(objectives=TASKS)}) == 3


def test_the_mask_of_the_text_decides_what_is_learned(
    inputs: TrainingInputs, tmp_path: Path
) -> None:
    found = []
    for mask in ("clean", "released"):
        objectives = (TextConfig.model_validate({"mask": mask}),)
        training = inputs.training.model_copy(update={"steps": 1})
        changed = replace(inputs, objectives=objectives, training=training)
        found.append(run(changed, tmp_path / mask)[1][1]["loss/text"])
    assert found[0] != found[1]


def test_steps_visit_every_scene_once_per_epoch(inputs: TrainingInputs) -> None:
    data = data_of(inputs, 3)
    first = [visit.scene_id for step in range(2) for visit in data.plan(step).scenes]
    assert sorted(first) == list(SCENES)
    assert data.plan(5) == data_of(inputs, 3).plan(5)
    assert [data.plan(s) for s in range(4)] != [data_of(inputs, 4).plan(s) for s in range(4)]


def test_ranks_share_a_step_without_overlap(inputs: TrainingInputs) -> None:
    data = data_of(inputs, 3)
    plan = data.plan(0)
    shares = [next(data.rounds(0, rank, 2)).micro.batch for rank in range(2)]
    assert sum(share.num_questions for share in shares) == plan.num_questions


def test_a_step_may_hide_frames_of_one_visit_and_none_of_another(inputs: TrainingInputs) -> None:
    class HidesOneVisit(Objective):
        def hides(self, step: int, place: str, num_frames: int) -> tuple[bool, ...]:
            return tuple(frame == 1 for frame in range(num_frames)) if place == first.place else ()

        def forward(self, student_pass: Any, whole: int) -> Any:
            raise AssertionError("data are put together without a loss")

    data = data_of(inputs, 3, HidesOneVisit(ReconstructionConfig()))
    first, second = (data.plan(step).scenes[0] for step in range(2))
    hidden = data.assemble((first, second), step=0).batch.frames.hidden
    assert hidden is not None and hidden.sum(1).tolist() == [1, 0] and bool(hidden[0, 1])
    assert data.assemble((second, second), step=0).batch.frames.hidden is None
    assert data.assemble((first, second)).batch.frames.hidden is None, "held-out scenes are whole"


def data_of(inputs: TrainingInputs, seed: int, *objectives: Objective) -> TrainingData:
    return TrainingData(
        PreparedScenes(inputs.prepared),
        inputs.samples,
        build_student(inputs.student).tokenizer,
        inputs.training,
        seed,
        objectives=objectives,
    )


def with_arms(inputs: TrainingInputs, **settings: Any) -> TrainingInputs:
    """A teacher's features beside the frames and as targets, and hidden frames."""
    return replace(
        inputs,
        objectives=(*TASKS, AlignmentConfig(), ReconstructionConfig(weight=1.0, every=2)),
        fusion=FusionSettings.model_validate({"mode": "add", **settings}),
    )


def test_arms_in_one_cell_resume_in_the_same_bits_and_count_their_weights(
    inputs: TrainingInputs, tmp_path: Path
) -> None:
    arms = with_arms(inputs)
    summary, curve = run(arms, tmp_path / "whole")
    assert curve[6]["loss/reconstruction"] > 0 and curve[6]["loss/alignment"] > 0
    with pytest.raises(Stopped):
        run(arms, tmp_path / "broken", stop_after=3)
    run(arms, tmp_path / "broken")
    whole, broken = (weights(tmp_path / name) for name in ("whole", "broken"))
    assert all(torch.equal(tensor, whole[name]) for name, tensor in broken.items())
    trained = open_student(tmp_path / "whole" / "out")
    assert trained.fusion is not None and trained.fusion.gate is not None
    assert trained.fusion.gate.any(), "the gate opens"
    wanted = {"vision", "projector", "language", "grounding", "fusion", "alignment"}
    assert summary.parameters.keys() == wanted | {"reconstruction"}
    counted = trained.fusion.settings.parameters(trained.width, 8)
    assert summary.parameters["fusion"] == counted


def test_the_control_trains_on_other_features(inputs: TrainingInputs, tmp_path: Path) -> None:
    for name in ("none", "other_scene"):
        run(with_arms(inputs, control=name), tmp_path / name)
    own, other = (weights(tmp_path / name) for name in ("none", "other_scene"))
    assert not torch.equal(own["fusion.gate"], other["fusion.gate"])
    alike, apart = (
        replace(inputs, objectives=(*TASKS, AlignmentConfig(control=control)))
        for control in ("none", "other_scene")
    )
    targets = [build(each) for each in (alike, apart)]
    assert (targets[0]["a"] == targets[1]["c"]).all() and (targets[0]["a"] != targets[1]["a"]).any()


def build(inputs: TrainingInputs) -> dict[str, Any]:
    """What alignment compares each scene with."""
    assert inputs.features is not None
    prepared = PreparedScenes(inputs.prepared)
    (settings,) = [each for each in inputs.objectives if isinstance(each, AlignmentConfig)]
    teacher = TeacherFeatures(inputs.features, prepared, SCENES)
    objective = settings.build(random_student(), teacher)
    return {name: objective.target(prepared[name]) for name in SCENES}


def test_fusion_without_features_or_from_another_start_is_refused(
    inputs: TrainingInputs, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="needs teacher features"):
        run(replace(with_arms(inputs), objectives=TASKS, features=None), tmp_path / "none")
    one_step = inputs.training.model_copy(update={"steps": 1})
    fused = replace(with_arms(inputs), training=one_step)
    run(fused, tmp_path / "fused")
    start = LlavaVideoConfig(checkpoint=str(tmp_path / "fused" / "out"))
    with pytest.raises(CheckpointError, match="mode: add; set it, too"):
        run(replace(inputs, student=start), tmp_path / "plain")
    run(replace(fused, student=start), tmp_path / "further")


def test_time_asks_for_checkpoints_too_and_changes_no_bit(
    inputs: TrainingInputs, tmp_path: Path
) -> None:
    by_steps = inputs.training.model_copy(update={"checkpoint_every": 100})
    by_time = by_steps.model_copy(update={"checkpoint_seconds": 1e-9})
    run(replace(inputs, training=by_steps), tmp_path / "steps")
    assert not list((tmp_path / "steps").glob("checkpoints/step-*"))
    with pytest.raises(Stopped):
        run(replace(inputs, training=by_time), tmp_path / "time", stop_after=3)
    summary, _ = run(replace(inputs, training=by_steps), tmp_path / "time")
    assert summary.resumed_from == 2
    expected = weights(tmp_path / "steps")
    for name, tensor in weights(tmp_path / "time").items():
        assert torch.equal(tensor, expected[name]), name


@pytest.mark.parametrize(("workers", "size"), [(2, 1), (1, 10**9)])
def test_several_workers_and_large_checkpoints_go_by_steps_alone(workers: int, size: int) -> None:
    training = TrainingConfig(checkpoint_seconds=5)
    assert seconds_between(training, workers, size) == float("inf")
    assert seconds_between(training, 1, 1) == 5
