"""Scoring of files: formats told by shape, and the truth they carry."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from threedrs_components.benchmarks.prediction_files import read_predictions, write_predictions
from threedrs_components.benchmarks.prediction_formats import read_prediction_file
from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.benchmarks.scoring import score
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Prediction

Writer = Callable[[str, Any], Path]
pytestmark = pytest.mark.usefixtures("without_meteor")


def corners(box: Sequence[float]) -> list[list[float]]:
    low = [box[axis] - box[axis + 3] / 2 for axis in range(3)]
    high = [box[axis] + box[axis + 3] / 2 for axis in range(3)]
    return [
        [x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])
    ]


UNIT, FAR = [0, 0, 0, 1, 1, 1], [9, 0, 0, 1, 1, 1]


def line(**more: Any) -> dict[str, Any]:
    return {"dataset": "scanrefer", "sample_id": "a", "question_type": "unique", **more}


def test_our_lines_come_back_as_they_were_written(tmp_path: Path) -> None:
    predictions = [
        Prediction("a", text=""),
        Prediction("b", boxes=((0, 0, 0, 1, 1, 1),), scores=(0.5, -0.25)),
        Prediction("c", text="caf\u00e9\u2028", texts=("x", "y")),
        Prediction("d"),
    ]
    assert write_predictions(tmp_path / "p.jsonl", predictions) == 4
    assert read_predictions(tmp_path / "p.jsonl") == predictions


def test_3drs_lines_carry_their_truth(write: Writer) -> None:
    rows = [
        line(pred_response=UNIT, gt_response=UNIT),
        line(sample_id="b", pred_response=FAR, gt_response=UNIT, question_type="multiple"),
    ]
    found = score("scanrefer", predictions=write("p.jsonl", rows))
    assert found.metrics["acc@0.5"].value == 50.0
    assert found.per_type["unique"]["acc@0.5"].value == 100.0


def test_3drs_lines_of_multi3drefer_are_selected_from_scores(write: Writer) -> None:
    rows = [
        line(
            dataset="multi3drefer", objects=[UNIT, FAR], scores=[0.9, 0.1, 0.0], gt_response=[UNIT]
        )
    ]
    found = score("multi3drefer", predictions=write("p.jsonl", rows))
    assert found.metrics["f1@0.5"].value == 100.0


def test_3drs_captions_are_scored_without_annotations(write: Writer) -> None:
    rows = [
        line(dataset="scan2cap", pred_response="a lamp", gt_response=["a lamp"], scene="scene0"),
        line(dataset="scan2cap", sample_id="b", pred_response="", gt_response=["a chair"]),
    ]
    found = score("scan2cap", predictions=write("p.jsonl", rows))
    assert found.metrics["cider@0.5"].n == 2 and found.metrics["cider@0.5"].value > 0


def test_3drs_answers_take_all_references_from_the_annotations(world: Path, write: Writer) -> None:
    rows = [
        line(
            dataset="scanQA", sample_id="scanqa_val-s0-0_0", pred_response="left", gt_response="x"
        ),
        line(dataset="scanQA", sample_id="scanqa_val-s0-1_0", pred_response="red", gt_response="y"),
    ]
    path = write("p.jsonl", rows)
    alone = score("scanqa", predictions=path)
    assert alone.metrics["em@1"].value == 0.0
    assert "a sample without line is not seen to be missing" in alone.warnings[0]
    assert "give --annotations" in alone.warnings[1]
    annotations = world / "annotations" / "ScanQA_v1.0_val.json"
    found = score("scanqa", predictions=path, annotations=annotations)
    assert found.metrics["em@1"].value == 50.0


def answer(name: str, said: str, truth: str) -> dict[str, Any]:
    return line(dataset="scanQA", sample_id=name, pred_response=said, gt_response=truth)


def test_rows_of_a_question_count_twice_in_em_and_once_in_text_scores(write: Writer) -> None:
    once = [answer("scanqa_a_0", "red", "red"), answer("scanqa_b_1", "a big lamp", "a lamp")]
    again = answer("scanqa_a_2", "blue", "never looked at")
    rows = write("p.jsonl", [once[0], again, again, once[1]])
    found = score("scanqa", predictions=rows)
    # Of four rows the first is right; the last one about `a` speaks for it elsewhere.
    assert (found.metrics["em@1"].value, found.metrics["em@1"].n) == (25.0, 4)
    assert (found.samples, found.missing) == (2, 0)
    assert "2 answers repeat a question" in " ".join(found.warnings)
    alone = score(
        "scanqa", predictions=write("q.jsonl", [answer("scanqa_a_0", "blue", "red"), once[1]])
    )
    for name in ("bleu1", "rouge_l", "cider"):
        assert found.metrics[name] == alone.metrics[name]
    with pytest.raises(AnnotationError, match="predicted twice"):
        score("scanqa", predictions=rows, protocol="official")


def test_a_row_belongs_to_the_question_whatever_its_number(world: Path, write: Writer) -> None:
    rows = write("p.jsonl", [answer("scanqa_val-s0-0_3", "left", "x")])
    raw = world / "annotations" / "ScanQA_v1.0_val.json"
    assert score("scanqa", predictions=rows, annotations=raw).metrics["em@1"].value == 50.0
    processed = {
        "id": "scanqa_val-s0-0_0",
        "video": "scannet/s0",
        "conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "left"}],
        "metadata": {"dataset": "scanQA", "question_type": "", "answers": ["left"]},
    }
    style = write("scanqa_val_llava_style.json", [processed])
    assert score("scanqa", predictions=rows, annotations=style).metrics["em@1"].value == 100.0


def test_repeats_in_scanrefer_s_list_are_rows_for_its_own_script(
    world: Path, write: Writer
) -> None:
    hit = {"scene_id": "s0", "object_id": 0, "ann_id": 0, "bbox": corners(UNIT)}
    miss = {"scene_id": "s0", "object_id": 1, "ann_id": 0, "bbox": corners([9, 9, 9, 1, 1, 1])}
    path = write("p.json", [hit, hit, miss])
    found = score("scanrefer", predictions=path, annotations=world, protocol="official")
    assert found.metrics["acc@0.5"].value == pytest.approx(100 * 2 / 3)
    assert (found.metrics["acc@0.5"].n, found.samples, found.missing) == (3, 5, 3)
    assert "1 predictions repeat one before: each of them counts" in found.warnings
    once = score("scanrefer", predictions=path, annotations=world)
    assert (once.metrics["acc@0.5"].value, once.metrics["acc@0.5"].n) == (20.0, 5)
    other = write("q.json", [hit, {**hit, "bbox": corners(FAR)}])
    with pytest.raises(AnnotationError, match="record 1: id: 'scanrefer_s0_0_0' is pred"):
        score("scanrefer", predictions=other, annotations=world, protocol="official")


@pytest.mark.parametrize("protocol", ["3drs", "official", "m3dref"])
def test_the_benchmark_s_own_list_finds_its_objects(
    world: Path, write: Writer, protocol: str
) -> None:
    items: list[dict[str, Any]] = [
        {"scene_id": "s0", "object_id": 0, "ann_id": 0, "bbox": corners(UNIT)},
        {"scene_id": "s0", "object_id": "1", "ann_id": "0", "bbox": corners(UNIT)},
    ]
    flags = {"unique_multiple": 0, "others": 1}
    path = write("pred.json", [item | flags for item in items])
    found = score("scanrefer", predictions=path, annotations=world, protocol=protocol)
    if protocol == "official":
        assert found.metrics["acc@0.5"].value == 50.0
        assert found.per_type["unique_in_others"]["acc@0.5"].n == 2
    else:
        assert found.metrics["acc@0.5"].value == 20.0
    assert found.missing == 3


def test_flags_of_the_list_find_processed_conversations(write: Writer) -> None:
    record = {
        "id": "scanrefer_0",
        "video": "scannet/s0",
        "conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "<ground>"}],
        "metadata": {"dataset": "scanrefer", "ann_id": "0", "object_id": 0},
        "box": UNIT,
    }
    item = {"scene_id": "s0", "object_id": 0, "ann_id": 0, "bbox": corners(UNIT)}
    path = write("p.json", [item | {"unique_multiple": 1, "others": 1}])
    annotations = write("scanrefer_val_llava_style.json", [record])
    found = score("scanrefer", predictions=path, annotations=annotations, protocol="official")
    assert found.per_type["multiple_in_others"]["acc@0.5"].value == 100.0


def test_annotations_may_bring_their_own_corners(write: Writer) -> None:
    record = {
        "scene_id": "s0",
        "object_id": "0",
        "object_name": "lamp",
        "ann_id": "0",
        "description": "x",
        "bbox": corners(FAR),
    }
    annotations = write("gt_bbox.json", [record])
    predictions = write("p.jsonl", [{"id": "scanrefer_s0_0_0", "boxes": [FAR]}])
    found = score("scanrefer", predictions=predictions, annotations=annotations)
    assert found.metrics["acc@0.5"].value == 100.0


@pytest.mark.parametrize("protocol", ["3drs", "official"])
def test_corners_of_both_sides_are_compared_as_given(write: Writer, protocol: str) -> None:
    # IoU is 1/2 to the last bit; through centre and size it would be a little less.
    given = [[0.1, 0.2, 0.3], [1.5550000000000002, 0.905, 0.561]]
    truth = [[0.1, 0.2, 0.3], [3.0099999456536515, 0.905, 0.561]]
    item = {"scene_id": "s0", "object_id": 0, "ann_id": 0}
    record = {**item, "object_name": "lamp", "description": "x", "bbox": truth}
    found = score(
        "scanrefer",
        predictions=write("p.json", [{**item, "bbox": given}]),
        annotations=write("gt_bbox.json", [record]),
        protocol=protocol,
    )
    assert found.metrics["acc@0.5"].value == 100.0


def test_a_folder_of_scenes_is_m3dref_clip_s(world: Path, write: Writer) -> None:
    write("pred/s0.json", [{"ann_id": 0, "aabb": [corners(UNIT)]}, {"ann_id": 2, "aabb": []}])
    found = score("multi3drefer", predictions=world / "pred", annotations=world, protocol="m3dref")
    assert found.per_type["st_wo_d"]["f1@0.5"].value == 100.0
    assert found.per_type["zt_wo_d"]["f1@0.5"].value == 100.0
    assert found.per_type["mt"]["f1@0.5"].value == 0.0 and found.missing == 1


def test_m3dref_predictions_of_scanrefer_name_their_object(world: Path, write: Writer) -> None:
    item = {"ann_id": 0, "object_id": 2, "aabb": [corners([4, 0, 0, 1, 1, 1])]}
    found = score("scanrefer", predictions=write("p.json", {"s0": [item]}), annotations=world)
    assert found.metrics["acc@0.5"].value == 20.0


def test_captioned_boxes_by_scene_are_scan2cap_s(world: Path, write: Writer) -> None:
    items = [{"caption": "sos a lamp eos", "box": corners(UNIT), "sem_prob": [], "obj_prob": []}]
    path = write("p.json", {"s0": items})
    found = score("scan2cap", predictions=path, annotations=world, protocol="benchmark")
    assert found.metrics["rouge_l@0.5/precision"].value > 0 and found.missing == 1


def test_captions_that_bring_boxes_need_no_proposals(world: Path, write: Writer) -> None:
    (world / "proposals/val.json").unlink()
    line = {"id": "scan2cap_s0_0_lamp", "text": "a red lamp"}
    found = score(
        "scan2cap", predictions=write("p.jsonl", [line | {"boxes": [UNIT]}]), annotations=world
    )
    assert found.metrics["cider@0.25"].value > 0 and found.missing == 3
    taken = score("scan2cap", predictions=write("q.jsonl", [line]), annotations=world)
    assert "cider@0.25" not in taken.metrics
    assert any("captions bring no box: taken as" in text for text in taken.warnings)


def test_proposals_of_a_folder_decide_where_captions_bring_no_box(
    world: Path, write: Writer
) -> None:
    lamp, chair = (
        {"id": f"scan2cap_s0_{name}", "text": "a red lamp"} for name in ("0_lamp", "1_chair")
    )
    found = score("scan2cap", predictions=write("p.jsonl", [lamp, chair]), annotations=world)
    only = score(
        "scan2cap", predictions=write("q.jsonl", [lamp, chair | {"text": ""}]), annotations=world
    )
    assert found.metrics["cider@0.5"] == only.metrics["cider@0.5"]


def test_ranked_answers_are_scanqa_s(world: Path, write: Writer) -> None:
    items = [{"question_id": "val-s0-1", "answer_top10": ["red", "brown"], "bbox": []}]
    annotations = world / "annotations" / "ScanQA_v1.0_val.json"
    found = score("scanqa", predictions=write("p.json", items), annotations=annotations)
    assert found.metrics["em@10"].value == 50.0


ANSWERS = {"val-s0-0": "left", "val-s0-1": "brown"}
LOGGED = [
    {
        "doc_id": number,
        "doc": {"question_id": name, "question": "x"},
        "target": "y",
        "resps": [[text]],
        "filtered_resps": [text],
    }
    for number, (name, text) in enumerate(ANSWERS.items())
]

WITHOUT_DOCUMENTS = [
    {"doc_id": number, "target": "y", "filtered_resps": text, "em": {"question_id": name}}
    for number, (name, text) in enumerate(ANSWERS.items())
]
"""As lmms-eval 0.7 logs: what the task says of an answer holds the id, the document is left out."""


@pytest.mark.parametrize(
    ("name", "content", "format_name"),
    [
        ("p.jsonl", LOGGED, "lmms-eval"),
        ("p.jsonl", WITHOUT_DOCUMENTS, "lmms-eval"),
        ("p.json", {"args": {}, "logs": LOGGED}, "lmms-eval"),
        ("p.json", [{"image_id": k, "caption": v} for k, v in ANSWERS.items()], "coco"),
        ("p.json", [{"question_id": k, "answer": v} for k, v in ANSWERS.items()], "coco"),
        ("p.jsonl", [{"id": k, "answer": v} for k, v in ANSWERS.items()], "coco"),
        ("p.json", ANSWERS, "mapping"),
    ],
)
def test_texts_of_general_tools_are_read(
    world: Path, write: Writer, name: str, content: Any, format_name: str
) -> None:
    path, annotations = write(name, content), world / "annotations" / "ScanQA_v1.0_val.json"
    assert read_prediction_file(path, BENCHMARKS["scanqa"]()).format == format_name
    found = score("scanqa", predictions=path, annotations=annotations)
    own = write("own.jsonl", [{"id": k, "text": v} for k, v in ANSWERS.items()])
    assert found.metrics == score("scanqa", predictions=own, annotations=annotations).metrics
    assert found.missing == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"doc_id": 0, "resps": [["a"]]}, "record 0: doc: has no question_id or id, and doc_id"),
        (LOGGED[0] | {"filtered_resps": ["a", "b"]}, "filtered_resps: holds 2 responses; one"),
        (LOGGED[0] | {"filtered_resps": [3]}, "holds 1 responses; one text is expected, not a in"),
    ],
)
def test_logs_that_leave_the_answer_open_are_refused(
    world: Path, write: Writer, line: Any, message: str
) -> None:
    with pytest.raises(AnnotationError, match=message):
        score("scanqa", predictions=write("p.jsonl", [line]), annotations=world)


def test_logs_of_another_version_are_refused(world: Path, write: Writer) -> None:
    line = {"doc_id": 0, "doc": {"id": 0, "ground_truth": "4"}, "filtered_resps": ["4"]}
    path = write("p.jsonl", [line])
    assert score("vsibench", predictions=path, annotations=world).missing == 4
    letter = write("r.jsonl", [line | {"doc": {"id": 1, "ground_truth": "D"}}])
    with pytest.raises(AnnotationError, match="is 'D' in the predictions and 'B' in the annotat"):
        score("vsibench", predictions=letter, annotations=world)
    other = write("q.jsonl", [line | {"doc": {"id": 0, "ground_truth": 7}}])
    with pytest.raises(AnnotationError, match=r"q.jsonl: record 0: ground_truth: is '7' in the pr"):
        score("vsibench", predictions=other, annotations=world)


def test_captions_may_be_named_as_scan2cap_names_objects(world: Path, write: Writer) -> None:
    path = write("p.json", [{"image_id": "s0|0|lamp", "caption": "a red lamp"}])
    assert score("scan2cap", predictions=path, annotations=world).missing == 3


@pytest.mark.parametrize("name", [0, 0.0, "0", "0.0"])
def test_ids_may_have_been_a_column_of_floats(world: Path, write: Writer, name: Any) -> None:
    path = write("p.jsonl", [{"id": name, "text": "4"}])
    found = score("vsibench", predictions=path, annotations=world)
    assert found.missing == found.samples - 1


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "utf-8"])
def test_files_of_windows_shells_are_read(world: Path, encoding: str) -> None:
    path = world / "p.jsonl"
    path.write_text('{"id": "val-s0-1", "text": "brown"}\r\n', encoding=encoding)
    assert score("scanqa", predictions=path, annotations=world).metrics["em@1"].value == 50.0


def test_predictions_may_be_a_table(world: Path) -> None:
    path = world / "p.parquet"
    parquet.write_table(pa.Table.from_pylist([{"id": "val-s0-1", "text": "brown"}]), path)
    assert score("scanqa", predictions=path, annotations=world).metrics["em@1"].value == 50.0


def test_questions_and_annotations_come_in_any_order(world: Path, write: Writer) -> None:
    files = sorted((world / "annotations").glob("v1_balanced_*_val_scannetv2.json"))
    path = write("p.jsonl", [{"id": 1, "text": "Chair"}, {"id": "2", "text": "yes"}])
    for annotations in (files, files[::-1]):
        found = score("sqa3d", predictions=path, annotations=annotations)
        assert found.metrics["em"].value == 50.0


def test_values_are_scored_like_files(world: Path) -> None:
    found = score(
        "vsibench",
        predictions=[
            Prediction(name, text=text)
            for name, text in {"0": "4", "1": "B", "2": "A", "3": "A", "4": "A"}.items()
        ],
        annotations=world,
    )
    assert found.metrics["average"].value == 100.0


def test_without_the_extra_meteor_is_left_out_and_said(world: Path) -> None:
    found = score("scanqa", predictions=[], annotations=world)
    assert "meteor" not in found.metrics
    assert any("meteor is left out" in warning for warning in found.warnings)
    assert not any(
        "meteor" in text for text in score("sqa3d", predictions=[], annotations=world).warnings
    )


def test_a_named_format_is_not_guessed(write: Writer) -> None:
    path = write("p.json", [{"id": "a", "text": "x"}])
    assert read_prediction_file(path, BENCHMARKS["scanqa"](), "own").format == "own"
    with pytest.raises(AnnotationError, match="question_id"):
        read_prediction_file(path, BENCHMARKS["scanqa"](), "scanqa")


def test_a_list_of_boxes_is_the_file_of_one_scene(world: Path, write: Writer) -> None:
    path = write("s0.json", [{"ann_id": "0", "aabb": [corners(UNIT)]}])
    found = score("multi3drefer", predictions=path, annotations=world)
    assert found.per_type["st_wo_d"]["f1@0.5"].value == 100.0


def test_types_by_object_name_are_announced(world: Path, write: Writer) -> None:
    path = write("p.jsonl", [{"id": "scanrefer_s0_0_0", "boxes": [UNIT]}])
    found = score("scanrefer", predictions=path, annotations=world)
    assert any("by object names, not by their classes" in text for text in found.warnings)
    table = "raw_category\tnyu40id\tnyu40class\nlamp\t35\tlamp\nchair\t5\tchair\n"
    labels = world / "labels.tsv"
    labels.write_text(table)
    for protocol in ("3drs", "official"):
        found = score(
            "scanrefer", predictions=path, annotations=world, label_map=labels, protocol=protocol
        )
        assert not any("unique" in text for text in found.warnings)


def test_types_outside_the_tables_are_announced(write: Writer) -> None:
    rows = [line(pred_response=UNIT, gt_response=UNIT, question_type="Unique")]
    found = score("scanrefer", predictions=write("p.jsonl", rows))
    assert "1 of 1 samples have a type like 'Unique', not unique, multiple" in found.warnings[0]


def test_raw_ids_find_processed_conversations(write: Writer) -> None:
    record = {
        "id": "scanqa_val-s0-0_0",
        "video": "scannet/s0",
        "conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "left"}],
        "metadata": {"dataset": "scanQA", "question_type": "", "answers": ["left"]},
    }
    predictions = write("p.json", [{"question_id": "val-s0-0", "answer_top10": ["left"]}])
    annotations = write("scanqa_val_llava_style.json", [record])
    found = score("scanqa", predictions=predictions, annotations=annotations)
    assert found.metrics["em@1"].value == 100.0


def test_half_a_surrogate_pair_is_a_replacement_character(world: Path) -> None:
    path = world / "p.jsonl"
    path.write_text('{"id": "val-s0-1", "text": "\\ud83d brown \\ud83d\\ude00"}')
    [prediction] = read_prediction_file(path, BENCHMARKS["scanqa"]()).predictions
    assert prediction.text == "\ufffd brown \U0001f600"


def test_a_byte_order_mark_is_no_mistake(world: Path) -> None:
    path = world / "p.jsonl"
    path.write_text('\ufeff{"id": "val-s0-1", "text": "brown"}\r\n', encoding="utf-8")
    assert score("scanqa", predictions=path, annotations=world).metrics["em@1"].value == 50.0
