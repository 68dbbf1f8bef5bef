"""What is refused when files are scored: the message names file, record and field."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from threedrs_components.benchmarks.scoring import score
from threedrs_platform.errors import AnnotationError, ConfigError
from threedrs_platform.records import Prediction

Writer = Callable[[str, Any], Path]
pytestmark = pytest.mark.usefixtures("without_meteor")
UNIT, FAR = [0, 0, 0, 1, 1, 1], [9, 0, 0, 1, 1, 1]


def line(**more: Any) -> dict[str, Any]:
    return {"dataset": "scanrefer", "sample_id": "a", "question_type": "unique", **more}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.jsonl", "", "p.jsonl.*is empty"),
        ("p.json", "", "is empty; a JSON value is expected"),
        ("p.json", "[]", "is empty; it holds no prediction"),
        ("p.json", "{}", "is empty; it holds no prediction"),
        ("p.jsonl", '{"id": "a", "text": "x"}\n{"id": ', "line 2: JSON"),
        ("p.json", '[{"foo": 1}]', r"no known shape \(first record: foo\)"),
        ("p.json", "[3]", r"no known shape \(first record: int\)"),
        ("p.json", '{"s0": [3]}', "no known shape"),
        ("p.jsonl", '{"id": "a", "boxes": [[0,0,0,1,1,1,0]]}', "record 0: boxes.0"),
        ("p.jsonl", '{"id": "a", "boxes": [[0,0,0,1,1,NaN]]}', "record 0: boxes.0.5"),
        ("p.jsonl", '{"id": "a", "boxes": [[0,0,0,1,1,1]], "scores": [1]}', "1 scores for 1 boxes"),
        ("p.jsonl", '{"id": "a", "txt": "x"}', "record 0: txt"),
        ("p.jsonl", '{"id": "a", "text": 3}', "record 0: text"),
        ("p.jsonl", '{"id": true, "boxes": []}', "record 0: id"),
        ("p.jsonl", '{"id": "a", "boxes": [["0",0,0,1,1,1]]}', "record 0: boxes.0.0"),
        ("p.jsonl", '{"id": "a", "boxes": [[true,0,0,1,1,1]]}', "record 0: boxes.0.0"),
        ("p.jsonl", '{"id": "a", "id": "b"}', "line 1: JSON: key 'id' occurs twice"),
        ("p.json", '{"s0": [], "s0": []}', "JSON: key 's0' occurs twice"),
        ("p.json", "[" * 200_000, "JSON: is nested too deeply"),
        ("p.jsonl", '{"id": ' + "9" * 5000 + "}", "line 1: JSON: Exceeds the limit"),
        ("p.json", '[{"id": "a", "text": "x"},]', "a comma stands behind the last value, remove"),
        ("p.jsonl", '{"id": "a", "text": "x"},', "line 1: JSON: Extra data; a comma stands"),
        ("p.json", "{'id': 'a'}", "this is Python's own notation, write it with json.dumps"),
        ("p" * 300, "", "cannot be read: File name too long"),
    ],
)
def test_unreadable_predictions_name_record_and_field(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    path = tmp_path / name
    if content or len(name) < 255:
        path.write_text(content)
    with pytest.raises(AnnotationError, match=message):
        score("scanrefer", predictions=path, annotations=[])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.jsonl", b'{"id": "caf\xe9"}', "not UTF-8 text .byte 11.; save it as UTF-8"),
        ("p.json", b"\xff\xfe{", "not UTF-8 text"),
        ("p.json", b'{\x00"\x00', "UTF-16 without its mark, or no text; save it as UTF-8"),
        ("p.parquet", b"PAR1" + bytes(40) + b"PAR1", "cannot be read as Parquet, is it complete"),
        ("p.parquet", b'{"id": "a"}', "cannot be read as Parquet, is it complete"),
    ],
)
def test_files_of_other_bytes_are_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(AnnotationError, match=f"{name}: .*{message}"):
        score("scanrefer", predictions=tmp_path / name, annotations=[])


def test_a_table_without_a_column_names_it(world: Path) -> None:
    lines = (world / "annotations/vsibench_val.jsonl").read_text().splitlines()
    table = pa.Table.from_pylist([json.loads(line) for line in lines])
    path = world / "cut.parquet"
    parquet.write_table(table.drop_columns(["question_type"]), path)
    with pytest.raises(AnnotationError, match=r"cut.parquet: record 0: question_type: Field req"):
        score("vsibench", predictions=[Prediction("0", text="x")], annotations=path)
    parquet.write_table(table, path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(AnnotationError, match=r"cut.parquet: .*is it complete"):
        score("vsibench", predictions=[Prediction("0", text="x")], annotations=path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([line(pred_response=UNIT, gt_response=FAR[:5])], "record 0: gt_response"),
        ([line(pred_response=None, gt_response=UNIT)], "record 0: pred_response"),
        ([line(gt_response=UNIT)], "record 0: pred_response"),
        ([line(dataset="sqa3d", pred_response=UNIT, gt_response=UNIT)], "dataset: is 'sqa3d'"),
        ([line(pred_response=UNIT, gt_response=UNIT)] * 2, "record 1: id: 'a' occurs twice"),
    ],
)
def test_faulty_3drs_lines_are_named(write: Writer, rows: list[Any], message: str) -> None:
    with pytest.raises(AnnotationError, match=message):
        score("scanrefer", predictions=write("p.jsonl", rows))


def test_a_truth_without_any_reference_is_refused(write: Writer) -> None:
    rows = [line(dataset="scan2cap", pred_response="a lamp", gt_response=[])]
    with pytest.raises(AnnotationError, match="record 0: gt_response: is empty; at least one"):
        score("scan2cap", predictions=write("p.jsonl", rows))


def test_3drs_scores_are_one_more_than_objects(write: Writer) -> None:
    rows = [line(dataset="multi3drefer", objects=[UNIT], scores=[0.1], gt_response=[])]
    with pytest.raises(AnnotationError, match="scores: 1 for 1 objects; one more is expected"):
        score("multi3drefer", predictions=write("p.jsonl", rows))


def test_predictions_of_another_benchmark_are_refused(world: Path, write: Writer) -> None:
    path = write("p.json", [{"question_id": "a", "answer_top10": ["x"]}])
    with pytest.raises(AnnotationError, match=r"scanqa predictions \(format scanqa\), not sqa3d"):
        score("sqa3d", predictions=path, annotations=world)


def test_predictions_for_other_annotations_are_refused(world: Path, write: Writer) -> None:
    path = write("p.jsonl", [{"id": "scanqa_other-0", "text": "x"}])
    with pytest.raises(
        AnnotationError, match=r"p.jsonl: record 0: id: unknown id 'scanqa_other-0'.*ids look like"
    ):
        score("scanqa", predictions=path, annotations=world)


def test_an_id_twice_is_refused(world: Path, write: Writer) -> None:
    path = write("p.jsonl", [{"id": "val-s0-0", "text": "x"}] * 2)
    with pytest.raises(AnnotationError, match="record 1: id: 'val-s0-0' is predicted twice"):
        score("scanqa", predictions=path, annotations=world)


def test_a_scene_has_one_list_of_boxes(world: Path, write: Writer) -> None:
    path = write("p.jsonl", [{"id": "scanrefer_s0_0_0", "boxes": [UNIT]}])
    boxes = write("boxes.json", {"s0": [UNIT] * 3, "scannet/s0": [FAR] * 3})
    annotations = [world / "annotations" / "ScanRefer_filtered_val.json", boxes]
    with pytest.raises(AnnotationError, match="record scannet/s0: scene: occurs twice"):
        score("scanrefer", predictions=path, annotations=annotations)


def test_boxes_are_needed_where_records_have_none(world: Path, write: Writer) -> None:
    path = write("p.jsonl", [{"id": "scanrefer_s0_0_0", "boxes": [UNIT]}])
    annotations = world / "annotations" / "ScanRefer_filtered_val.json"
    with pytest.raises(AnnotationError, match="no file of boxes is given; add one in the form"):
        score("scanrefer", predictions=path, annotations=annotations)
    boxes = write("boxes.json", {"s0": [UNIT, UNIT, UNIT], "s1": [UNIT]})
    found = score("scanrefer", predictions=path, annotations=[annotations, boxes])
    assert found.metrics["acc@0.5"].value == 20.0
    with pytest.raises(AnnotationError, match="give one file of boxes"):
        score("scanrefer", predictions=path, annotations=[annotations, boxes, boxes])
    with pytest.raises(AnnotationError, match="annotations are missing"):
        score("scanrefer", predictions=path, annotations=[boxes])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"benchmark": "scanref"}, "did you mean 'scanrefer'"),
        ({"protocol": "3dr"}, "scanqa has no protocol '3dr'; did you mean '3drs'"),
        ({"format_name": "owm"}, "did you mean 'own'"),
        ({"annotations": None}, "format own need annotations; give --annotations"),
    ],
)
def test_wrong_choices_are_refused_with_a_suggestion(
    world: Path, write: Writer, arguments: dict[str, Any], message: str
) -> None:
    path = write("p.jsonl", [{"id": "a", "text": "x"}])
    choices = {"benchmark": "scanqa", "annotations": world, **arguments}
    with pytest.raises(ConfigError, match=message):
        score(choices.pop("benchmark"), predictions=path, **choices)


def test_a_label_map_must_have_something_to_decide(world: Path, write: Writer) -> None:
    path = write("p.jsonl", [{"id": "scanrefer_s0_0_0", "boxes": [UNIT]}])
    labels = world / "labels.tsv"
    labels.write_text("raw_category\tnyu40id\tnyu40class\nlamp\t35\tlamp\n")
    found = score("scanrefer", predictions=path, annotations=world, label_map=labels)
    assert "2 of 5 descriptions name an object that the label table lacks" in found.warnings[0]
    labels.write_text("raw_category\tnyu40id\tnyu40class\ncow\t1\tcow\n")
    with pytest.raises(AnnotationError, match="'lamp' is not in the label table, and neither"):
        score("scanrefer", predictions=path, annotations=world, label_map=labels)
    with pytest.raises(ConfigError, match="sqa3d has no use for a label map"):
        score("sqa3d", predictions=path, annotations=world, label_map=labels)
    lines = write("lines.jsonl", [line(pred_response=UNIT, gt_response=UNIT)])
    with pytest.raises(ConfigError, match="decides nothing without annotations"):
        score("scanrefer", predictions=lines, label_map=labels)


@pytest.mark.parametrize(
    ("benchmark", "prediction", "message"),
    [
        ("scanqa", {"id": "val-s0-0"}, "text: is missing; scanqa takes text, texts"),
        ("scanqa", {"id": "val-s0-0", "boxes": [UNIT]}, "boxes: does not belong here"),
        ("sqa3d", {"id": "1", "texts": ["chair"]}, "texts: does not belong here; sqa3d takes text"),
        ("vsibench", {"id": "0", "text": None}, "text: is missing"),
        ("scanrefer", {"id": "scanrefer_s0_0_0", "text": "x"}, "text: does not belong here"),
        ("multi3drefer", {"id": "multi3drefer_s0_0", "texts": ["x"]}, "scores"),
    ],
)
def test_a_prediction_of_another_kind_is_no_wrong_answer(
    world: Path, write: Writer, benchmark: str, prediction: dict[str, Any], message: str
) -> None:
    with pytest.raises(AnnotationError, match=f"p.jsonl: record 0: .*{message}"):
        score(benchmark, predictions=write("p.jsonl", [prediction]), annotations=world)


@pytest.mark.parametrize(
    ("prediction", "message"),
    [
        (Prediction("a", boxes=((0, 0, 0, 1, 1, 1, 0),)), "record 0: boxes.0: Tuple should have"),
        (Prediction("a", boxes=((0, 0, 0, 1, 1, float("nan")),)), "record 0: boxes.0.5"),
        (Prediction("a", boxes=((0, 0, 0, 1, 1, 1),), scores=(1,)), "1 scores for 1 boxes"),
    ],
)
def test_values_are_held_to_the_rules_of_files(
    world: Path, prediction: Prediction, message: str
) -> None:
    with pytest.raises(AnnotationError, match=message):
        score("scanrefer", predictions=[prediction], annotations=world)


def test_a_file_of_boxes_belongs_to_no_question(world: Path, write: Writer) -> None:
    boxes, path = write("boxes.json", {"s0": [UNIT]}), write("p.jsonl", [{"id": "a", "text": "x"}])
    with pytest.raises(AnnotationError, match=r"boxes.json: .*holds a dict, a list of records"):
        score("scanqa", predictions=path, annotations=boxes)
