"""Which steps a cell has, and what two cells share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.metrics.meteor.data import ABSENT
from threedrs_platform.errors import ConfigError
from threedrs_platform.identity.file_digests import FileDigests
from threedrs_platform.identity.source_code import CodeIndex
from threedrs_platform.steps import StepSpec
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.plan import benchmark_params
from threedrs_workflows.testing.cell_steps import cell_steps

TREE: dict[str, Any] = {
    "scenes": {"kind": "micro"},
    "students": {"micro": {"kind": "llava_video"}},
    "student": "micro",
    "teachers": {"vggt": {"kind": "vggt"}, "mae": {"kind": "mae"}},
    "teacher_pretraining": {"vggt": {}, "mae": {}},
}


def steps_of(seed: int = 1, **changes: Any) -> dict[str, StepSpec]:
    return cell_steps(Experiment.model_validate(TREE | changes), seed, FileDigests())


def test_baseline_has_no_teacher() -> None:
    assert sorted(steps_of()) == sorted(
        ["scenes", "prepare", "samples", "pretrain", "finetune", "probe", "predict", "score"]
    )


def test_a_cell_of_no_steps_evaluates_its_start() -> None:
    steps = steps_of(teacher="vggt", training={"steps": 0})
    assert sorted(steps) == [
        "predict",
        "prepare",
        "pretrain",
        "probe",
        "samples",
        "scenes",
        "score",
    ]
    assert (
        steps["predict"].inputs["student"] is steps["probe"].inputs["student"] is steps["pretrain"]
    )
    assert steps == steps_of(seed=2, training={"steps": 0})


def test_distillation_adds_teacher_features_and_their_probe() -> None:
    added = set(steps_of(teacher="vggt")) - set(steps_of())
    assert added == {"teacher", "extract", "probe_teacher"}


FUSED: dict[str, Any] = {
    "teacher": "vggt",
    "alignment": {"weight": 0.0},
    "fusion": {"mode": "add"},
}


def test_fusion_reads_the_same_features_as_distillation_and_in_evaluation_too() -> None:
    distilled, fused = steps_of(teacher="vggt"), steps_of(**FUSED)
    both = steps_of(teacher="vggt", fusion={"mode": "add"})
    assert distilled["extract"] == fused["extract"] == both["extract"]
    for role in ("finetune", "probe", "predict"):
        assert fused[role].inputs["features"] == both[role].inputs["features"] == fused["extract"]
    assert "features" not in distilled["predict"].inputs
    assert "features" not in distilled["probe"].inputs
    assert {"text", "probe", "val"} == set(fused["extract"].params["splits"])
    told = fused["finetune"].params
    assert told["fusion"]["mode"] == "add" and both["finetune"].params["fusion"] == told["fusion"]
    names = [each["module"].rpartition(".")[2] for each in told["objectives"]]
    assert names == ["text", "grounding"]


def test_without_fusion_nothing_says_that_there_could_be_some() -> None:
    for steps in (steps_of(), steps_of(teacher="vggt"), steps_of(fusion={"gate": "none"})):
        assert "fusion" not in steps["finetune"].params
    (aligned,) = [
        each
        for each in steps_of(teacher="vggt")["finetune"].params["objectives"]
        if "alignment" in each["module"]
    ]
    assert "control" not in aligned["settings"]
    changed = steps_of(teacher="vggt", alignment={"control": "other_scene"})
    assert changed["finetune"].params != steps_of(teacher="vggt")["finetune"].params


def test_a_teacher_without_weights_is_extracted_and_not_trained() -> None:
    colours = steps_of(teacher="rgb", teachers={**TREE["teachers"], "rgb": {"kind": "rgb"}})
    assert set(colours) - set(steps_of()) == {"extract", "probe_teacher"}
    assert colours["extract"].params["weights"] is None


def test_a_blind_student_is_not_probed() -> None:
    assert "probe" not in steps_of(students={"micro": {"kind": "llava_video", "blind": True}})


@pytest.mark.parametrize("role", ["scenes", "prepare", "samples", "pretrain", "teacher", "extract"])
def test_seeds_share_everything_before_finetuning(role: str) -> None:
    assert steps_of(1, teacher="vggt")[role] == steps_of(2, teacher="vggt")[role]


def test_seeds_differ_from_finetuning_on() -> None:
    first, second = steps_of(1), steps_of(2)
    assert all(first[role] != second[role] for role in ("finetune", "probe", "predict", "score"))


def test_teachers_share_student_scenes_and_start() -> None:
    vggt, mae = steps_of(teacher="vggt"), steps_of(teacher="mae")
    assert vggt["scenes"] == mae["scenes"]
    assert vggt["pretrain"] == mae["pretrain"]
    assert vggt["teacher"] != mae["teacher"]
    assert vggt["teacher"].inputs["scenes"] == mae["teacher"].inputs["scenes"]


def test_more_teacher_scenes_leave_student_scenes_alone() -> None:
    more = steps_of(teacher="vggt", scenes={"kind": "micro", "teacher_scenes": 7})
    assert more["scenes"] == steps_of(teacher="vggt")["scenes"]
    assert more["teacher"] != steps_of(teacher="vggt")["teacher"]


def test_more_student_scenes_leave_the_teacher_alone() -> None:
    more = steps_of(teacher="vggt", scenes={"kind": "micro", "val": 7})
    assert more["teacher"] == steps_of(teacher="vggt")["teacher"]


def test_checkpoint_interval_is_a_setting_not_a_parameter() -> None:
    often = steps_of(training={"checkpoint_every": 7})["finetune"]
    assert often.settings["training"]["checkpoint_every"] == 7
    assert often.params == steps_of()["finetune"].params


def test_the_format_of_evaluation_is_a_parameter_of_what_evaluates_the_student() -> None:
    stored, narrow = steps_of(), steps_of(evaluation={"dtype": "float16"})
    changed = {role for role in stored if stored[role].params != narrow[role].params}
    assert changed == {"predict", "probe"}
    assert narrow["predict"].params["evaluation"] == {"dtype": "float16"}


def test_a_scorer_is_not_an_input_of_training() -> None:
    assert set(steps_of()["finetune"].inputs) == {"scenes", "prepared", "samples", "student"}


def test_real_weights_enter_by_content(tmp_path: Path) -> None:
    weights = tmp_path / "vggt.safetensors"
    teachers = {"vggt": {"kind": "vggt", "checkpoint": str(weights)}}
    weights.write_bytes(b"one")
    one = steps_of(teacher="vggt", teachers=teachers, teacher_pretraining={})["extract"]
    weights.write_bytes(b"two")
    two = steps_of(teacher="vggt", teachers=teachers, teacher_pretraining={})["extract"]
    assert one.params["weights"] != two.params["weights"]


@pytest.mark.parametrize("setting", ["frame_lists", "boxes", "proposals"])
def test_lists_of_scenes_enter_by_content(tmp_path: Path, setting: str) -> None:
    (tmp_path / "posed").mkdir()
    listed = tmp_path / "list.json"
    path: Any = {"train": str(listed)} if setting == "frame_lists" else [str(listed)]
    (tmp_path / "other.json").write_text("other")
    lists = {"train": str(tmp_path / "other.json")}
    scenes = {"kind": "scannet", "posed_images": str(tmp_path / "posed"), "frame_lists": lists}
    annotations = str(tmp_path / "posed")
    benchmarks = {"names": ["scanqa"], "split": "train", "annotations": annotations}
    found = []
    for content in ("one", "two!"):
        listed.write_text(content)
        tree: dict[str, Any] = {"scenes": {**scenes, setting: path}, "benchmarks": benchmarks}
        found.append(steps_of(**tree)["scenes"].params)
    assert found[0] != found[1]


@pytest.mark.parametrize("setting", ["annotations", "box_file", "label_map"])
def test_annotations_enter_by_content(tmp_path: Path, setting: str) -> None:
    file = tmp_path / "file"
    found = []
    for content in ("one", "two!"):
        file.write_text(content)
        found.append(steps_of(benchmarks={setting: str(file)})["samples"])
    assert found[0].params != found[1].params
    assert str(file) not in str(found[0].params) and str(file) in str(found[0].settings)


def test_a_missing_checkpoint_is_named_before_anything_starts(tmp_path: Path) -> None:
    teachers = {"vggt": {"kind": "vggt", "checkpoint": str(tmp_path / "gone.pt")}}
    with pytest.raises(ConfigError, match=r"gone\.pt: no such file"):
        steps_of(teacher="vggt", teachers=teachers, teacher_pretraining={})


def scannet(**changes: Any) -> dict[str, StepSpec]:
    """Steps over ScanNet files that are not here."""
    tree = {
        "scenes": {
            "kind": "scannet",
            "posed_images": "images",
            "frame_lists": {"train": "train.pkl", "val": "val.pkl"},
            "proposals": ["proposals.json"],
        },
        "benchmarks": {"annotations": "annotations"},
        "teacher": "vggt",
        **changes,
    }
    return cell_steps(Experiment.model_validate(TREE | tree), 1, FileDigests(absent={}))


def test_scannet_trains_and_fits_probes_on_its_training_list() -> None:
    steps = scannet()
    assert steps["finetune"].params["text_split"] == steps["probe"].params["fit_split"] == "train"
    assert steps["extract"].params["splits"] == ["train", "val"]
    assert steps["extract"].params["statistics_split"] == "train"


def test_features_of_frames_that_nobody_else_sees_are_not_probed() -> None:
    everywhere = scannet(alignment={"frames": "all_images"})
    assert "probe_teacher" in scannet() and "probe_teacher" not in everywhere
    assert everywhere["extract"].params["frames"] == "all_images"


@pytest.mark.parametrize(
    ("benchmarks", "changed"),
    [
        ({"max_new_tokens": 9}, {"predict"}),
        ({"candidates": "ground_truth"}, {"samples", "predict"}),
        ({"text_metrics": ["bleu1"]}, {"score"}),
        ({"protocols": {"scan2cap": "leo"}}, {"score"}),
        ({"training": ["scanqa"]}, {"samples"}),
        ({"splits": {"scanqa": "text"}}, {"samples"}),
        ({"prompts": {"scanqa": "{question}"}}, {"samples"}),
        ({"prompts": {"sqa3d": "{situation} {question}"}}, set()),
    ],
)
def test_settings_of_benchmarks_enter_the_steps_that_they_are_about(
    benchmarks: dict[str, Any], changed: set[str]
) -> None:
    one, other = steps_of(), steps_of(benchmarks=benchmarks)
    assert {role for role in one if one[role].params != other[role].params} == changed


def test_a_step_reaches_only_the_benchmarks_it_works_on() -> None:
    """Whoever edits a scorer scores again, and neither trains nor asks again."""
    steps, code = steps_of(benchmarks={"names": ["scanrefer", "scanqa"]}), CodeIndex()

    def reached(role: str) -> set[str]:
        modules = code.modules(steps[role].entry, steps[role].modules)
        return {name.removeprefix("threedrs_components.") for name in modules}

    kinds = {f"benchmarks.{kind}.{half}" for kind in BENCHMARKS for half in ("loader", "scorer")}
    loaders = {"benchmarks.scanrefer.loader", "benchmarks.scanqa.loader"}
    scorers = {"benchmarks.scanrefer.scorer", "benchmarks.scanqa.scorer"}
    assert reached("samples") & kinds == loaders
    assert reached("score") & kinds == scorers and "metrics.bleu" in reached("score")
    for role in steps.keys() - {"samples", "score"}:
        assert not reached(role) & kinds, role
    for role in steps.keys() - {"score"}:
        assert not reached(role) & METRICS, role
        assert not reached(role) & {"benchmarks.registry", "benchmarks.config", "benchmarks.tally"}


METRICS = {f"metrics.{name}" for name in ("bleu", "cider", "exact_match", "grounding", "rouge")}


def test_data_that_is_not_here_is_noted_where_that_is_allowed() -> None:
    digests = FileDigests(absent={})
    teachers = {"vggt": {"kind": "vggt", "checkpoint": "gone.pt"}}
    tree = TREE | {"teacher": "vggt", "teachers": teachers, "teacher_pretraining": {}}
    cell_steps(Experiment.model_validate(tree), 1, digests)
    assert digests.absent == {"gone.pt": "teachers.*.checkpoint"}


def test_versions_of_what_meteor_reads_are_in_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = {"names": ["scanqa"], "text_metrics": ["cider", "meteor"]}
    before = steps_of(benchmarks=metrics)["score"].params
    monkeypatch.setattr(benchmark_params, "installed_versions", lambda: {"snowballstemmer": "9"})
    assert steps_of(benchmarks=metrics)["score"].params != before
    assert steps_of()["score"].params["packages"] == {}


def test_meteor_is_measured_where_it_is_installed_and_the_key_tells(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def score_params(**benchmarks: Any) -> Any:
        chosen = {"names": ["scanrefer", "scanqa"], "meteor": "if_installed", **benchmarks}
        return steps_of(benchmarks=chosen)["score"].params

    listed = score_params(meteor="as_listed", text_metrics=["bleu4", "rouge_l", "cider", "meteor"])
    monkeypatch.setattr(benchmark_params, "installed_versions", lambda: {"snowballstemmer": "2"})
    measured = score_params()
    metrics = [scorer["settings"]["text_metrics"] for scorer in measured["scorers"]]
    assert all("meteor" in each for each in metrics) and measured["packages"]
    assert measured["scorers"] == listed["scorers"]
    monkeypatch.setattr(benchmark_params, "installed_versions", lambda: {"snowballstemmer": ABSENT})
    without = score_params()
    assert without["packages"] == {"snowballstemmer": ABSENT}
    assert not any("meteor" in str(scorer) for scorer in without["scorers"])
    assert score_params(names=["scanrefer"])["packages"] == {}


@pytest.mark.parametrize(("area", "share"), [("covered", 378 / 384), ("frame", 1.0)])
def test_the_teacher_is_pooled_over_what_the_student_covers(area: str, share: float) -> None:
    prepare = {"image_size": 384, "covered": 378, "grid": 14, "num_frames": 8}
    student = {"kind": "llava_video", "size": "7b", "checkpoint": "gone"}
    tree = TREE | {
        "students": {"big": student}, "student": "big", "prepare": prepare, "teacher": "vggt",
        "teachers": {"vggt": {"kind": "vggt", "checkpoint": "gone.pt"}}, "teacher_pretraining": {},
        "alignment": {"teacher_area": area},
    }  # fmt: skip
    steps = cell_steps(Experiment.model_validate(tree), 1, FileDigests(absent={}))
    assert steps["extract"].params["area"] == share
