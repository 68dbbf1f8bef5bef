"""Annotation files of the real formats become samples; faulty ones are named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from threedrs_components.benchmarks.annotation_files import AnnotationFolder
from threedrs_components.benchmarks.config import BenchmarksConfig, PromptConfig
from threedrs_components.benchmarks.registry import BENCHMARKS, benchmark_named
from threedrs_components.benchmarks.scan2cap.scorer import Scan2CapScorer
from threedrs_components.benchmarks.scanqa.scorer import ScanQAScorer
from threedrs_components.benchmarks.wording import Wording
from threedrs_components.metrics.iou import CornerBox
from threedrs_platform.config.faults import validate
from threedrs_platform.errors import AnnotationError, ConfigError
from threedrs_platform.records import Prediction, Sample

Writer = Callable[[str, Any], Path]


def samples(world: Path, name: str, split: str = "val") -> list[Sample]:
    return BENCHMARKS[name].loader().samples(AnnotationFolder(world), Wording(), split)


def configured(
    config: BenchmarksConfig, name: str, scenes: Path, split: str = "val"
) -> list[Sample]:
    folder = config.folder(scenes, oracle=config.candidates == "ground_truth")
    return config.loader(name).samples(folder, config.wording(), split)


def test_scanrefer_has_one_sample_per_description(world: Path) -> None:
    first, *_, last = samples(world, "scanrefer")
    assert first.sample_id == "scanrefer_s0_0_0"
    assert first.target_boxes == ((0, 0, 0, 1, 1, 1),)
    assert first.prompt.endswith("following description.\nThe red lamp.")
    assert (first.question_type, last.scene_id) == ("unique", "s1")


def test_objects_of_the_same_name_are_multiple(world: Path) -> None:
    kinds = [sample.question_type for sample in samples(world, "scanrefer")]
    assert kinds == ["unique", "unique", "multiple", "multiple", "unique"]


def test_training_prompts_carry_the_spatial_sentence_and_evaluation_prompts_do_not(
    world: Path,
) -> None:
    assert samples(world, "scanrefer", "train")[0].prompt.startswith("The video captures 3D")
    assert samples(world, "scanrefer")[0].prompt.startswith("Identify the object")


def test_an_evaluation_preamble_stands_before_evaluation_prompts_only(world: Path) -> None:
    prompts = PromptConfig(train_preamble="", evaluation_preamble="Look. ")
    config = BenchmarksConfig(prompts=prompts)
    asked, learned = (configured(config, "scanqa", world, split) for split in ("val", "train"))
    assert all(each.prompt.startswith("Look. ") for each in asked)
    assert not any(each.prompt.startswith("Look. ") for each in learned)


def test_multi3drefer_keeps_queries_without_target(world: Path) -> None:
    one, several, none = samples(world, "multi3drefer")
    assert one.target_ids == (0,) and len(several.target_boxes) == 2
    assert none.target_boxes == () and none.question_type == "zt_wo_d"


def test_scan2cap_groups_the_descriptions_of_an_object(world: Path) -> None:
    lamp, chair, other, elsewhere = samples(world, "scan2cap")
    assert lamp.answers == ("The red lamp.", "a lamp on the left")
    assert lamp.prompt == "Given an object located at <coord> , describe the object in detail."
    # IoU .8 / 1.2 = .67 with the first proposal; .1 / 1.9 with the second is too little.
    assert lamp.box_input == (0, 0, 0.2, 1, 1, 1)
    assert (chair.box_input, other.box_input, elsewhere.box_input) == (None, None, None)


def test_scan2cap_trains_on_every_description_with_the_object_s_own_box(world: Path) -> None:
    found = samples(world, "scan2cap", "train")
    assert len(found) == 5 and found[0].box_input == found[0].target_boxes[0]
    assert found[1].answers == ("A lamp on the left",)


def test_scanqa_trains_on_every_answer_and_is_asked_once(world: Path) -> None:
    assert [sample.answers for sample in samples(world, "scanqa", "train")] == [
        ("on the left",),
        ("left",),
        ("brown",),
    ]
    where, colour = samples(world, "scanqa")
    assert where.answers == ("on the left", "left")
    assert (where.question_type, colour.question_type) == ("Place", "Color")


def test_sqa3d_joins_questions_and_annotations_by_id(world: Path) -> None:
    what, dark = samples(world, "sqa3d")
    assert (what.answers, what.question_type) == (("the chair",), "what")
    assert (dark.answers, dark.question_type) == (("no",), "is")
    assert what.prompt.startswith("I am sitting. What is behind me? Answer")


def test_sqa3d_trains_on_every_wording_of_the_situation(world: Path) -> None:
    prompts = [sample.prompt for sample in samples(world, "sqa3d", "train")]
    assert len(prompts) == 4 and "I sit. What is behind me?" in prompts[0]


def test_vsibench_lists_options_and_asks_for_a_letter_or_a_number(world: Path) -> None:
    number, choice, *_ = samples(world, "vsibench")
    assert number.prompt.endswith("Please answer the question using a single word or phrase.")
    assert "Options:\nA. left\nB. right\nAnswer with the option's letter" in choice.prompt
    assert choice.prompt.startswith("These are frames of a video.\nWhere to?")


def test_vsibench_reads_parquet(world: Path) -> None:
    path = world / "annotations" / "vsibench_val.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.unlink()
    parquet.write_table(pa.Table.from_pylist(rows), path.with_suffix(".parquet"))
    assert [sample.answers for sample in samples(world, "vsibench")][:2] == [("4",), ("B",)]


def test_a_template_without_its_field_is_refused() -> None:
    with pytest.raises(ValueError, match=r"scanqa\n.* the template must use \{question\}"):
        PromptConfig.model_validate({"scanqa": "Answer."})


@pytest.mark.parametrize(
    ("templates", "reason"),
    [
        ({"scan2cap": "describe it"}, "scan2cap\n.*<coord> points .* must have 1 of it, it has 0"),
        ({"scan2cap": "<coord> <coord>"}, "must have 1 of it, it has 2"),
        ({"scanqa": "{question} <coord>"}, "scanqa\n.*<coord> points .* must have 0 of it"),
    ],
)
def test_only_captions_are_asked_about_a_box(templates: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        PromptConfig.model_validate(templates)


def test_the_oracle_points_at_the_objects_themselves(world: Path) -> None:
    config = BenchmarksConfig(names=("scan2cap",), candidates="ground_truth")
    (world / "proposals/val.json").unlink()
    found = configured(config, "scan2cap", world)
    assert [each.box_input for each in found] == [each.target_boxes[0] for each in found]


def test_an_evaluation_without_proposals_is_refused(world: Path) -> None:
    (world / "proposals/val.json").unlink()
    with pytest.raises(AnnotationError, match=r"proposals/val\.json.*cannot be read"):
        samples(world, "scan2cap")


def test_proposals_of_the_scenes_serve_where_the_annotations_have_none(
    world: Path, tmp_path: Path
) -> None:
    scenes = tmp_path / "pointer"
    (scenes / "proposals").mkdir(parents=True)
    (world / "proposals/val.json").rename(scenes / "proposals/scannet_val_pred_box.json")
    config = BenchmarksConfig(names=("scan2cap",), annotations=str(world))
    found = configured(config, "scan2cap", scenes)
    assert found[0].box_input == (0, 0, 0.2, 1, 1, 1)


def test_each_benchmark_is_asked_as_its_release_asks_it() -> None:
    limits = {name: _asked(name, "max_new_tokens", None) for name in BENCHMARKS}
    assert limits == dict.fromkeys(BENCHMARKS, 512) | {"vsibench": 16, "revsi": 16}
    short = {name: _asked(name, "max_new_tokens", 64) for name in BENCHMARKS}
    assert short == dict.fromkeys(BENCHMARKS, 64) | {"vsibench": 16, "revsi": 16}
    assert [name for name in BENCHMARKS if _asked(name, "frames_only")] == [
        "vsibench",
        "revsi",
        *("mindcube", "viewspatial", "embspatial", "blink", "mmsi"),
    ]
    oracle = BenchmarksConfig(candidates="ground_truth")
    assert oracle.asking("scanqa").candidates == "ground_truth"


def _asked(name: str, fact: str, longest: int | None = 64) -> Any:
    return getattr(BenchmarksConfig(max_new_tokens=longest).asking(name), fact)


def test_a_configured_protocol_scores(world: Path) -> None:
    scorer = BenchmarksConfig(protocols={"sqa3d": "leo"}).scorer("sqa3d")
    names = {metric.name for metric in scorer.evaluate(samples(world, "sqa3d"), []).flat()[0]}
    assert "sqa3d/em_refined" in names


def test_the_configured_text_metrics_are_measured(world: Path) -> None:
    scorer = BenchmarksConfig(text_metrics=("bleu1",)).scorer("scanqa")
    metrics = scorer.evaluate(samples(world, "scanqa"), []).metrics
    assert {"bleu1"} == {name for name in metrics if "bleu" in name}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ["scanqq"]}, "no benchmark 'scanqq'; did you mean 'scanqa'"),
        ({"protocols": {"scanqq": "3drs"}}, "no benchmark 'scanqq'"),
        ({"protocols": {"scanqa": "3dr"}}, "scanqa has no protocol '3dr'; did you mean '3drs'"),
        ({"prompts": {"scanqq": ""}}, "unknown key 'scanqq'; did you mean 'scanqa'"),
        ({"prompts": {"scanqa": "{"}}, "prompts.scanqa: "),
    ],
)
def test_wrong_names_are_refused_with_a_suggestion(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(BenchmarksConfig, changes | {"split": 3})
    assert message in str(caught.value) and "split: expected text" in str(caught.value)


def test_boxes_may_come_from_one_file_for_all_scenes(world: Path, write: Writer) -> None:
    path = write("boxes.json", {"scannet/s0": [[9, 9, 9, 1, 1, 1]] * 3, "s1": [[8] * 6]})
    folder = AnnotationFolder(world, box_file=path)
    found = BENCHMARKS["scanrefer"].loader().samples(folder, Wording(), "val")
    assert found[0].target_boxes[0][0] == 9 and found[-1].target_boxes[0][0] == 8


def test_an_unknown_benchmark_is_refused_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match="did you mean 'scanqa'"):
        benchmark_named("scanqq")


def spoiled(world: Path, name: str, record: int, **changes: Any) -> Path:
    path = world / "annotations" / name
    values = json.loads(path.read_text())
    for key, value in changes.items():
        values[record][key] = value
        if value is ...:
            del values[record][key]
    path.write_text(json.dumps(values, default=str))
    return path


@pytest.mark.parametrize(
    ("record", "changes", "field", "reason"),
    [
        (1, {"scene_id": ...}, "scene_id", "Field required"),
        (2, {"object_id": "chair"}, "object_id", "valid integer"),
        (3, {"scene_id": "s9"}, "scene_id", "unknown scene 's9'"),
        (3, {"object_id": 7}, "object_id", r"no object 7; its boxes hold objects 0..2"),
        (1, {"ann_id": "0"}, "id", "occurs twice, first in record 0"),
    ],
)
def test_a_faulty_record_is_named(
    world: Path, record: int, changes: dict[str, Any], field: str, reason: str
) -> None:
    path = spoiled(world, "ScanRefer_filtered_val.json", record, **changes)
    with pytest.raises(AnnotationError, match=reason) as caught:
        samples(world, "scanrefer")
    assert (caught.value.file, int(caught.value.record), caught.value.field) == (
        str(path),
        record,
        field,
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("[]", "holds no record"),
        ("{}", "holds a dict, a list of records is expected"),
        ('[{"scene_id": "s0",}]', "line 1, column"),
    ],
)
def test_a_file_that_is_no_list_of_records_is_refused(world: Path, text: str, reason: str) -> None:
    (world / "annotations" / "ScanQA_v1.0_val.json").write_text(text)
    with pytest.raises(AnnotationError, match=reason):
        samples(world, "scanqa")


def test_a_missing_file_is_named(world: Path) -> None:
    with pytest.raises(AnnotationError, match=r"ScanQA_v1\.0_test\.json.*cannot be read"):
        samples(world, "scanqa", "test")


@pytest.mark.parametrize("boxes", [[[0, 0, 0, 1, 1, 1, 0]], [[0, 0, 0, 1, 1]], [["nan"] * 6]])
def test_a_box_is_six_finite_numbers(world: Path, boxes: list[Any]) -> None:
    path = world / "proposals" / "val.json"
    path.write_text(json.dumps({"s0": boxes}))
    with pytest.raises(AnnotationError, match=r"record s0: box 0.*six finite numbers"):
        samples(world, "scan2cap")


def test_boxes_and_ids_of_a_scene_must_agree_in_number(world: Path) -> None:
    path = world / "scenes" / "s0" / "boxes.json"
    path.write_text(json.dumps({"object_ids": [0], "boxes": [[0] * 6, [1] * 6]}))
    with pytest.raises(AnnotationError, match="1 object_ids but 2 boxes"):
        samples(world, "scanrefer")


def test_questions_and_annotations_are_about_the_same_scene(world: Path) -> None:
    path = world / "annotations" / "v1_balanced_sqa_annotations_val_scannetv2.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["scene_id"] = "s9"
    path.write_text(json.dumps(content))
    with pytest.raises(AnnotationError, match="scene_id: is s9, but question 2 is about s1"):
        samples(world, "sqa3d")


def test_two_objects_of_one_name_in_two_spellings_are_refused_when_scored(world: Path) -> None:
    path = world / "annotations" / "ScanRefer_filtered_val.json"
    first = {**json.loads(path.read_text())[0], "object_name": "trash can"}
    path.write_text(json.dumps([first, {**first, "object_name": "trash_can", "ann_id": "9"}]))
    found = samples(world, "scan2cap")
    with pytest.raises(AnnotationError, match="record 1: id: 'scan2cap_s0_0_trash_can' occurs tw"):
        Scan2CapScorer(protocol="3drs").evaluate(found, [])


def test_a_question_without_annotation_is_named(world: Path) -> None:
    path = world / "annotations" / "v1_balanced_sqa_annotations_val_scannetv2.json"
    path.write_text(json.dumps({"annotations": json.loads(path.read_text())["annotations"][:1]}))
    with pytest.raises(AnnotationError, match="record 0: question_id: 1 has no annotation"):
        samples(world, "sqa3d")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"question_type": "object_colour"}, "question_type"),
        ({"ground_truth": "many"}, "ground_truth must be a number, 0 or more"),
        ({"ground_truth": "-3"}, "must be a number, 0 or more"),
        ({"ground_truth": "nan"}, "must be a number, 0 or more"),
        ({"ground_truth": True}, "ground_truth: Input should be a valid string"),
        (
            {"question_type": "route_planning", "options": ["A. x", "B. y"], "ground_truth": "C"},
            "'C' is none of the options' letters AB",
        ),
        ({"question_type": "route_planning"}, "options are needed"),
    ],
)
def test_vsibench_records_must_be_answerable(
    world: Path, changes: dict[str, Any], reason: str
) -> None:
    path = world / "annotations" / "vsibench_val.jsonl"
    first, *others = map(json.loads, path.read_text().splitlines())
    path.write_text("\n".join(map(json.dumps, [first | changes, *others])))
    with pytest.raises(AnnotationError, match=reason):
        samples(world, "vsibench")


def test_errors_survive_pickling(world: Path) -> None:
    import pickle

    with pytest.raises(AnnotationError) as caught:
        samples(world, "scanqa", "test")
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == str(caught.value)


def test_prediction_objects_are_paired_by_id(world: Path) -> None:
    found, scorer = samples(world, "scanqa"), ScanQAScorer(protocol="3drs")
    with pytest.raises(AnnotationError, match=r"unknown id 'scanqa_x'.*look like"):
        scorer.evaluate(found, [Prediction("scanqa_x", text="")])
    twice = [Prediction("scanqa_val-s0-0", text=""), Prediction("val-s0-0", text="")]
    with pytest.raises(AnnotationError, match="record 1: id: 'val-s0-0' is predicted twice"):
        scorer.evaluate(found, twice)


def test_corners_in_any_order_give_centre_and_size() -> None:
    corners = [[x, y, z] for z in (3, 1) for x in (0, 2) for y in (5, 4)]
    assert CornerBox.around(corners) == (1, 4.5, 2, 2, 1, 2)


@pytest.mark.parametrize("how", ["file", "column", "ids"])
def test_vsi_bench_debiased_is_a_split(how: str, tmp_path: Path) -> None:
    rows = [
        {
            "id": name,
            "dataset": "arkitscenes",
            "scene_name": "41069025",
            "question_type": "object_counting",
            "question": "How many?",
            "ground_truth": "3",
            **({"pruned": name == "b"} if how == "column" else {}),
        }
        for name in ("a", "b", "c")
    ]
    kept = [row for row in rows if row["id"] != "b"] if how == "file" else rows
    name = "test_debiased" if how == "file" else "test"
    (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, kept)))
    folder, loader = AnnotationFolder(tmp_path), BENCHMARKS["vsibench"].loader()
    if how == "ids":
        with pytest.raises(AnnotationError, match=r"no pruned_ids\.txt beside it"):
            loader.samples(folder, Wording(), "test_debiased")
        (tmp_path / "pruned_ids.txt").write_text("b\n")
    found = loader.samples(folder, Wording(), "test_debiased")
    assert [sample.sample_id for sample in found] == ["vsibench_a", "vsibench_c"]
    assert {sample.scene_id for sample in found} == {"arkitscenes.41069025"}


@pytest.mark.parametrize(
    ("ids", "listed", "told"),
    [
        (("a", "b"), "b\n77\n", "1 of its 2 ids are of no question, e.g. '77'"),
        ((None, None), "b\n", "1 of its 1 ids are of no question, e.g. 'b'"),
        (("a", "b"), "\n", "holds no id"),
    ],
)
def test_a_list_of_pruned_ids_that_is_of_other_questions_is_refused(
    ids: tuple[str | None, ...], listed: str, told: str, tmp_path: Path
) -> None:
    row = {"dataset": "scannet", "scene_name": "s", "question_type": "object_counting"}
    row |= {"question": "How many?", "ground_truth": "3"}
    (tmp_path / "test.jsonl").write_text("\n".join(json.dumps(row | {"id": each}) for each in ids))
    (tmp_path / "pruned_ids.txt").write_text(listed)
    loader = BENCHMARKS["vsibench"].loader()
    with pytest.raises(AnnotationError, match=rf"pruned_ids\.txt.*{told}"):
        loader.samples(AnnotationFolder(tmp_path), Wording(), "test_debiased")


def test_a_scene_that_climbs_out_of_its_folder_is_refused_by_its_record(tmp_path: Path) -> None:
    row = {"dataset": "scannet", "scene_name": "../s", "question_type": "object_counting"}
    row |= {"question": "How many?", "ground_truth": "3"}
    (tmp_path / "test.jsonl").write_text(json.dumps(row))
    with pytest.raises(AnnotationError, match="is no name of a data set or scene"):
        BENCHMARKS["vsibench"].loader().samples(AnnotationFolder(tmp_path), Wording(), "test")
