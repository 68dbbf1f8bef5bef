from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threedrs_components.scenes.micro.annotations import FILES
from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_platform.config.faults import validate
from threedrs_platform.config.paths import split_path
from threedrs_platform.config.tree import put_in
from threedrs_platform.errors import ConfigError
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.experiment_identity import canonical_experiment, experiment_id

BASE: dict[str, Any] = {
    "scenes": {"kind": "micro"},
    "students": {
        "llava": {"kind": "llava_video"},
        "blind": {"kind": "llava_video", "blind": True},
        "big": {"kind": "llava_video", "size": "7b", "checkpoint": "weights"},
    },
    "student": "llava",
    "teachers": {
        "vggt": {"kind": "vggt"},
        "mae": {"kind": "mae"},
        "real": {"kind": "vggt", "checkpoint": "model.pt"},
    },
    "teacher_pretraining": {"vggt": {"steps": 5}, "mae": {"steps": 6}},
}

FROZEN: dict[str, Any] = {"students__llava__frozen": ["vision", "projector", "language"]}
SCANNET = {
    "kind": "scannet",
    "posed_images": "posed_images",
    "frame_lists": {"train": "train.json", "val": "val.json"},
}


def experiment(**changes: Any) -> Experiment:
    data = BASE
    for path, value in changes.items():
        data = put_in(data, split_path(path.replace("__", ".")), value)
    return validate(Experiment, data)


def identity(**changes: Any) -> str:
    return experiment_id(experiment(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 5},
        {"alignment__layers": [2]},
        {"alignment__weight": 0.0, "teacher": "vggt"},
        {"teachers__vggt__layer": 1},
        {"teacher_pretraining__vggt__steps": 9},
        {"students__blind__position_encoding": True},
        {"correspondence__negative_weight": 3.0},
        {"training__workers": 2, "training__strategy": "ddp"},
        {"training__gradient_accumulation": 4},
        {"training__checkpoint_every": 7},
        {"training__log_every": 7},
        {"student_pretraining__checkpoint_every": 7},
        {"students__other": {"kind": "llava_video"}, "student": "other"},
        {"grounding__temperature": 0.07},
        {"fusion__gate": "none"},
        {"alignment__control": "other_scene"},
        {"reconstruction__ratio": 0.5},
        {"training__steps": 350},
        {"benchmarks__prompts": {"vsibench_number": "How many? {question}"}},
    ],
)
def test_what_cannot_matter_leaves_the_identity_alone(changes: dict[str, Any]) -> None:
    assert identity(**changes) == identity()


@pytest.mark.parametrize(
    "changes",
    [
        {"teacher": "vggt"},
        {"student": "blind"},
        {"correspondence__weight": 1.0},
        {"training__steps": 351},
        {"training__scenes_per_step": 5},
        {"training__dtype": "bfloat16"},
        {"scenes__text": 99},
        {"student_pretraining__tower_steps": 1},
        {"benchmarks__names": ["scanqa"]},
        {"benchmarks__prompts": {"scanqa": "Say: {question}"}},
        {"students__llava__position_encoding": True},
        {"teacher": "vggt", "alignment__weight": 0.0, "fusion__mode": "add"},
        {"reconstruction__weight": 1.0},
    ],
)
def test_what_matters_changes_the_identity(changes: dict[str, Any]) -> None:
    assert identity(**changes) != identity()


@pytest.mark.parametrize(
    "changes",
    [
        {"alignment__layers": [2]},
        {"teachers__vggt__layer": 1},
        {"teacher_pretraining__vggt__steps": 9},
        {"teacher": "mae"},
        {"teacher": "real"},
        {"fusion__mode": "add"},
        {"alignment__control": "other_scene"},
    ],
)
def test_with_a_teacher_its_settings_matter(changes: dict[str, Any]) -> None:
    assert identity(**{"teacher": "vggt", **changes}) != identity(teacher="vggt")


def test_pretraining_of_a_student_with_weights_does_not_matter() -> None:
    big = {"student": "big", "prepare__image_size": 384, "prepare__covered": 378}
    big["prepare__grid"] = 14
    assert identity(**big, student_pretraining__tower_steps=1) == identity(**big)


def test_names_of_table_entries_do_not_matter() -> None:
    renamed = experiment(
        teachers__other={"kind": "vggt"}, teacher_pretraining__other={"steps": 5}, teacher="other"
    )
    assert experiment_id(renamed) == identity(teacher="vggt")


def test_identity_has_twelve_hex_digits_and_stays() -> None:
    found = identity()
    assert len(found) == 12
    assert int(found, 16) >= 0
    assert found == identity()


def test_canonical_tree_keeps_only_what_takes_part() -> None:
    tree = canonical_experiment(experiment(teacher="vggt"))
    assert set(tree["teachers"]) == {"vggt"}
    assert set(tree["students"]) == {"llava"}
    assert tree["teacher_pretraining"]["vggt"]["steps"] == 5
    assert tree["correspondence"] == {"weight": 0.0}
    assert not {"workers", "checkpoint_every"} & set(tree["training"])
    assert "checkpoint_every" not in tree["teacher_pretraining"]["vggt"]
    alone = canonical_experiment(experiment())
    assert "alignment" not in alone
    assert "seed" not in alone


def test_recipe_of_a_teacher_carries_its_model() -> None:
    recipe = experiment(teacher="mae").pretraining_of_teacher()
    assert recipe is not None
    assert (recipe.steps, recipe.kind) == (6, "mae")
    assert experiment(teacher="real").pretraining_of_teacher() is None
    assert experiment().teacher_config() is None
    assert experiment(teacher="vggt", alignment__weight=0.0).teacher_config() is None


def test_a_teacher_without_weights_needs_neither_checkpoint_nor_recipe() -> None:
    colours = experiment(teachers__rgb={"kind": "rgb"}, teacher="rgb")
    assert colours.pretraining_of_teacher() is None
    assert canonical_experiment(colours)["teachers"]["rgb"]["sees"] == "nothing"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"student": "lava"}, "student: no student 'lava' in students; did you mean 'llava'? ("),
        ({"teacher": "vgt"}, "teacher: no teacher 'vgt' in teachers; did you mean 'vggt'? ("),
        ({"teacher": "non"}, "did you mean 'none'?"),
        (
            {"teachers__new": {"kind": "mae"}, "teacher": "new"},
            "teacher: teacher 'new' has neither a checkpoint (teachers.new.checkpoint) nor",
        ),
        ({"teacher_pretraining__x": {"steps": 1}}, "no teacher 'x' in teachers"),
        (
            {"teacher_pretraining__mae__teacher": {"kind": "mae"}},
            "teacher_pretraining.mae.teacher: unknown key 'teacher'",
        ),
        ({"student": "blind", "teacher": "mae"}, "a blind student has no visual tokens to align"),
        (
            {"student": "blind", "correspondence__weight": 1.0},
            "correspondence: a blind student has no visual tokens to compare; set weight: 0",
        ),
        ({"alignment__frames": "all_images"}, "frames 'all_images' needs scenes of kind scannet"),
        (
            {"scenes": {"kind": "rgbd_folder", "root": "rooms"}},
            "benchmarks: scanrefer, scan2cap choose among proposals, and the scenes",
        ),
        (
            {"benchmarks__names": ["scanqa", "sqa3d"]},
            "benchmarks: scenes of kind micro have no annotations of sqa3d, only of scanrefer, "
            "scan2cap, multi3drefer, scanqa; set benchmarks.annotations to a folder that has them",
        ),
        ({"benchmarks__names": ["vsibench"]}, "kind micro have no annotations of vsibench, only"),
        (
            {"benchmarks__training": ["scanqa", "sqa3d", "vsibench"]},
            "kind micro have no annotations of sqa3d, vsibench, only of",
        ),
        (
            {"scenes": {"kind": "rgbd_folder", "root": "rooms"}, "benchmarks__names": ["scanqa"]},
            "scenes of kind rgbd_folder have no annotations of scanqa; set benchmarks.annotations",
        ),
        (
            {"scenes": SCANNET, "benchmarks__names": ["scanqa"]},
            "scenes of kind scannet have no annotations of scanqa; set benchmarks.annotations",
        ),
        (
            {"benchmarks__protocols": {"scan2cap": "3drs_as_ran"}},
            "scan2cap has no protocol '3drs_as_ran'; did you mean '3drs_as_run'?",
        ),
        ({"alignment__layers": [4]}, "alignment: layer 4: the student has 3 layers: 0 to 3, or -1"),
        ({"probe__layer": -5}, "probe: layer -5: the student has 3 layers"),
        ({"probe__places": ["tower", 4]}, "probe: layer 4: the student has 3 layers"),
        (
            {
                "teacher": "vggt",
                "alignment__layers": ["tower"],
                "students__llava__frozen": ["vision"],
            },
            "alignment: alignment reads 'tower', which vision made, and nothing there learns "
            "(students.*.frozen: [vision]): let one of them learn, or read a layer behind them",
        ),
        (
            {
                "depth": {"weight": 1.0, "layer": "projector"},
                "students__llava__frozen": ["projector"],
                "training__vision_learning_rate_factor": 0.0,
            },
            "training: depth reads 'projector', which vision and projector made, and nothing",
        ),
        (
            {
                "alignment__weight": 0.0,
                "gram__weight": 1.0,
                "teacher": "vggt",
                "text__weight": 0.0,
                **FROZEN,
            },
            "training: gram reads -1, which vision, projector and language made, and nothing there "
            "learns (it is frozen, or its rate is 0): let one of them learn, or set gram.weight: 0",
        ),
        ({"text__weight": 0.0, "ray": {"weight": 1.0, "layer": 2}, **FROZEN}, "ray reads 2, which"),
        ({"text__weight": 0.0, "correspondence__weight": 1.0, **FROZEN}, "correspondence reads -1"),
        ({"text__weight": 0.0, "reconstruction__weight": 1.0, **FROZEN}, "reconstruction reads -1"),
        ({"grounding__weight": 0.0, **FROZEN}, "text reads answers, which vision, projector and"),
        (
            {"student": "blind", "students__blind__frozen": ["language"]},
            "text reads answers, which language made",
        ),
        (
            {"text__weight": 0.0, "training__head_learning_rate": 0.0, **FROZEN},
            "grounding reads answers, which vision, projector, language and heads made",
        ),
        (
            {"teacher": "vggt", "alignment__control": "other_scene", "scenes__text": 1},
            "alignment: control 'other_scene' gives a scene the maps of another, and there is one",
        ),
        ({"gram__layers": [1, 1]}, "gram.layers: 1 is named twice; name each place once"),
        ({"gram__layers": [1, -3]}, "gram: -3 is named twice (once as 1)"),
        ({"alignment__layers": ["tower", "tower"]}, "'tower' is named twice"),
        ({"probe__places": ["tower", 1, "tower"]}, "'tower' is named twice; name each place once"),
        (
            {"ray": {"weight": 1.0}, "student": "blind"},
            "ray: a blind student has no visual tokens to compare; set weight: 0",
        ),
        (
            {
                "student": "big",
                "prepare": {"image_size": 384, "covered": 378, "grid": 14},
                "alignment__layers": [-30],
            },
            "alignment: layer -30: the student has 28 layers: 0 to 28, or -1 (the last, "
            "normalised) to -29",
        ),
        ({"prepare__grid": 7}, "student: the student reads 64 pixels as 4 x 4 tokens, but prepare"),
        (
            {"student": "big"},
            "student: the student reads 384 pixels as 14 x 14 tokens, but prepare",
        ),
        (
            {
                "students__llava__object_membership": "released",
                "students__llava__object_features": "both",
            },
            "set prepare.patch_grid: 8, or the student's object_membership: share",
        ),
        (
            {"student": "big", "prepare": {"image_size": 384, "grid": 14}},
            "student: the student's patches cover 378 of 384 pixels, but prepare cuts 384 of them "
            "into token cells; set prepare.covered: 378",
        ),
        (
            {"prepare__covered": 60},
            "of 64 pixels, but prepare cuts 60 of them into token cells; set",
        ),
        ({"prepare__covered": 65}, "prepare: covered 65 is more than image_size 64"),
        ({"prepare__num_frames": 9}, "prepare: num_frames 9: scenes have only 8 frames"),
        (
            {"prepare__sampling": "coverage"},
            "prepare: sampling 'coverage' has nothing to choose from: num_frames 8 keeps all "
            "frames that scenes come with; set scenes.num_frames to more than that",
        ),
        (
            {"scenes": {"kind": "videos", "root": "clips"}, "prepare__sampling": "coverage"},
            "prepare: sampling 'coverage' counts the voxels that depth finds, and scenes of kind "
            "videos have no depth; set prepare.sampling: uniform",
        ),
        (
            {
                "scenes": {**SCANNET, "num_frames": 64},
                "prepare__sampling": "coverage",
                "alignment__frames": "all_images",
            },
            "'all_images' have no depth, so they cannot be chosen by prepare.sampling 'coverage'",
        ),
        ({"scenes__kind": "mikro"}, "scenes.kind: unknown kind 'mikro'; did you mean 'micro'?"),
        ({"benchmarks__names": ["scanreef"]}, "did you mean 'scanrefer'?"),
        ({"fusion__mode": "add"}, "fusion: mode 'add' adds a teacher's features, and there is no"),
        (
            {
                "scenes": SCANNET,
                "benchmarks__annotations": "data",
                "teacher": "vggt",
                "alignment__frames": "all_images",
                "fusion__mode": "add",
            },
            "the teacher must see the student's frames; set alignment.frames: student",
        ),
        (
            {"prepare__num_frames": 1, "reconstruction__weight": 1.0},
            "reconstruction: of one frame none can be hidden; set weight: 0, or more num_frames",
        ),
        (
            {"student": "blind", "reconstruction__weight": 1.0},
            "reconstruction: a blind student has no visual tokens to compare; set weight: 0",
        ),
        (
            {"reconstruction__weight": 1.0, "reconstruction__heads": 5},
            "reconstruction: 5 heads do not divide the width 128; take one of 1, 2, 4, 8, 16, 32",
        ),
        (
            {"reconstruction__weight": 1.0, "reconstruction__width": 6},
            "reconstruction: 4 heads do not divide the width 6; take one of 1, 2",
        ),
        (
            {"reconstruction__weight": 1.0, "reconstruction__birds_eye": 5},
            "reconstruction: birds_eye tells a picture of 40 pixels a side, and prepare keeps "
            "none; set prepare.birds_eye: 40",
        ),
        (
            {
                "prepare__birds_eye": 32,
                "reconstruction__weight": 1.0,
                "reconstruction__birds_eye": 5,
            },
            "prepare keeps one of 32; set prepare.birds_eye: 40",
        ),
        (
            {"scenes": {"kind": "videos", "root": "clips"}, "prepare__birds_eye": 40},
            "scenes of kind videos have no depth and no cameras to see them from above with; set "
            "prepare.birds_eye: null",
        ),
        (
            {"teacher": "vggt", "fusion__mode": "cross_attention", "fusion__heads": 5},
            "fusion: 5 heads do not divide the width 128",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        experiment(**changes)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"text__weight": 0.0},
        {"teacher": "vggt", "alignment__layers": [0], "fusion__mode": "add"},
    ],
    ids=["the student's head for boxes", "fusion"],
)
def test_what_no_setting_freezes_may_learn_alone(changes: dict[str, Any]) -> None:
    assert experiment(**changes, **FROZEN).student_config().frozen


def test_the_control_of_another_scene_is_free_where_it_takes_no_part() -> None:
    experiment(alignment__control="other_scene", scenes__text=1)


def test_a_room_from_above_is_in_an_id_only_where_it_is_told() -> None:
    told = {"reconstruction__weight": 1.0, "prepare__birds_eye": 40}
    frames = identity(reconstruction__weight=1.0)
    assert frames == identity(reconstruction__weight=1.0, reconstruction__birds_eye=None)
    assert frames == "a7f6f1eb4c5a"  # of this tree before there was such a picture
    assert identity(**told, reconstruction__birds_eye=5) != identity(**told) != frames


@pytest.mark.parametrize(
    "reads",
    [{"depth": {"weight": 1.0, "source": "teacher"}}, {"fusion.mode": "add"}],
    ids=["depth", "fusion"],
)
def test_how_a_teacher_is_pooled_is_in_an_id_without_alignment_too(reads: dict[str, Any]) -> None:
    changes = {"teacher": "vggt", "alignment.weight": 0.0, **reads}
    assert identity(**changes) != identity(**changes, **{"alignment.teacher_area": "frame"})
    assert identity(**changes) == identity(**changes, **{"alignment.teacher_area": "covered"})
    assert identity(**changes) == identity(**changes, **{"alignment.layers": [1]})


def test_how_frames_are_chosen_is_in_an_id_only_where_it_was_chosen() -> None:
    more = {"scenes__num_frames": 16}
    assert identity(**more) == identity(**more, prepare__sampling="uniform")
    assert identity(**more) != identity(**more, prepare__sampling="coverage")


@pytest.mark.parametrize("scenes", [{"kind": "micro"}, SCANNET])
@pytest.mark.parametrize("name", ["scanqa", "sqa3d", "vsibench"])
def test_a_folder_of_annotations_may_hold_any_benchmark(scenes: dict[str, Any], name: str) -> None:
    experiment(scenes=scenes, benchmarks__names=[name], benchmarks__annotations="annotations")


def test_the_micro_world_writes_the_annotations_that_it_promises() -> None:
    assert set(MicroWorldConfig().annotated) == set(FILES)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(["none", "vggt", "mae"]),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([0.0, 1.0]),
    st.integers(1, 3),
    st.integers(0, 3),
)
def test_equal_identity_means_equal_effective_settings(
    teacher: str, align: float, correspond: float, layer: int, seed: int
) -> None:
    one = experiment(
        teacher=teacher,
        alignment__weight=align,
        alignment__layers=[layer],
        correspondence__weight=correspond,
        seed=seed,
    )
    other = experiment(
        teacher=teacher if align else "none",
        alignment__weight=align,
        alignment__layers=[layer] if teacher != "none" and align else [-1],
        correspondence__weight=correspond,
    )
    assert experiment_id(one) == experiment_id(other)


def test_the_tree_imports_nothing_heavy() -> None:
    code = (
        "import sys, threedrs_workflows.experiment, threedrs_workflows.grid.cells\n"
        "heavy = {'torch', 'ray', 'mlflow', 'transformers', 'scipy', 'sqlalchemy', 'boto3'}\n"
        "assert not heavy & set(sys.modules), sorted(heavy & set(sys.modules))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"teacher": "vggt"},
        {"text__mask": "clean"},
        {"correspondence__weight": 1.0},
        {"training__learning_rate": 0.5},
    ],
)
def test_what_trains_is_no_part_of_a_cell_that_trains_nothing(changes: dict[str, Any]) -> None:
    assert identity(training__steps=0, **changes) == identity(training__steps=0)
    assert identity(training__steps=0) != identity(training__steps=1)


def test_nothing_is_validated_where_nothing_is_trained() -> None:
    with pytest.raises(ConfigError, match=r"nothing is trained \(steps: 0\)"):
        experiment(training__steps=0, training__validate_every=5, held_out=0.2)


def test_settings_that_came_later_give_cells_from_before_no_other_id() -> None:
    before = identity()
    assert before == "18a04b151f05"  # of this tree before prepare.checks and its like existed
    assert identity(prepare__checks={"mode": "tell"}) != before
    assert identity(benchmarks__missing_scenes="leave_out") != before
    assert identity(teacher="vggt", fusion__mode="add") != identity(teacher="vggt")
    distilled = identity(teacher="vggt")
    assert identity(teacher="vggt", teachers__vggt__max_cut=0.5) != distilled
