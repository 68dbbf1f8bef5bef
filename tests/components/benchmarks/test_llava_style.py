"""The processed conversations of 3DRS."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from threedrs_components.benchmarks.annotation_files import AnnotationFiles
from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.benchmarks.wording import Wording
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Sample

Writer = Callable[[str, Any], Path]


def conversation(name: str, dataset: str, question: str, answer: str, **more: Any) -> Any:
    metadata = {"dataset": dataset, "question_type": "what", **more.pop("metadata", {})}
    return {
        "id": name,
        "video": "scannet/scene0000_00",
        "conversations": [
            {"from": "human", "value": question},
            {"from": "gpt", "value": answer},
        ],
        "metadata": metadata,
        **more,
    }


def read(write: Writer, benchmark: str, *records: Any, split: str = "val") -> list[Sample]:
    path = write("x_llava_style.json", list(records))
    return BENCHMARKS[benchmark].loader().samples_of(AnnotationFiles((path,)), Wording(), split)


def test_grounding_conversations_carry_their_boxes(write: Writer) -> None:
    record = conversation(
        "scanrefer_0", "scanrefer", "<image>Find it.\nThe lamp.", "<ground>", box=[0, 0, 0, 1, 1, 1]
    )
    [sample] = read(write, "scanrefer", record)
    assert (sample.kind, sample.scene_id) == ("ground", "scene0000_00")
    assert sample.prompt == "Find it.\nThe lamp." and sample.target_boxes == ((0, 0, 0, 1, 1, 1),)


def test_several_or_no_boxes_belong_to_multi3drefer(write: Writer) -> None:
    many = conversation("a", "multi3drefer", "<image>x", "<ground>", box=[[0] * 6, [1] * 6])
    none = conversation("b", "multi3drefer", "<image>x", "<ground>", box=[])
    assert [len(s.target_boxes) for s in read(write, "multi3drefer", many, none)] == [2, 0]


def test_captions_know_all_references_and_the_prompt_box(write: Writer) -> None:
    given = conversation(
        "scan2cap_0",
        "scan2cap",
        "<image> Describe <coord> .",
        "One.",
        gt_box=[0, 0, 0, 1, 1, 1],
        box_input=[0, 0, 0.1, 1, 1, 1],
        annotations=["One.", "Two."],
    )
    missed = conversation("scan2cap_1", "scan2cap", "x", "y", gt_box=[0] * 6, box_input=None)
    first, second = read(write, "scan2cap", given, missed)
    assert first.answers == ("One.", "Two.") and first.box_input == (0, 0, 0.1, 1, 1, 1)
    assert second.box_input is None and second.answers == ("y",)


def test_questions_keep_the_wording_of_the_file(write: Writer) -> None:
    record = conversation(
        "scanqa_1_0", "scanQA", "<image> Where? Answer.", "left", metadata={"answers": ["l", "m"]}
    )
    [sample] = read(write, "scanqa", record)
    assert (sample.prompt, sample.answers) == (" Where? Answer.", ("l", "m"))
    [training] = read(write, "scanqa", record, split="train")
    assert training.prompt.startswith("The video captures 3D") and training.prompt.endswith(
        "Answer."
    )


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (conversation("a", "sqa3d", "x", "y"), "metadata.dataset: is 'sqa3d'"),
        (conversation("a", "scanrefer", "x", "<ground>"), "box: is missing"),
        (conversation("a", "scanrefer", "x", "y", box=[[0] * 6]), "must be one box of six"),
        (conversation("a", "scanrefer", "x", "y", box=[0] * 7), "box"),
        (conversation("a", "scanrefer", "x", "y", box=[0] * 6, video=...), "video"),
    ],
)
def test_faulty_conversations_are_named(write: Writer, record: Any, reason: str) -> None:
    if record["video"] is ...:
        del record["video"]
    with pytest.raises(AnnotationError, match=f"record 0: {reason}|record 0: .*{reason}"):
        read(write, "scanrefer", record)


def test_a_conversation_has_two_turns(write: Writer) -> None:
    record = conversation("a", "scanqa", "x", "y")
    record["conversations"].reverse()
    with pytest.raises(AnnotationError, match="a human turn and then a gpt turn"):
        read(write, "scanqa", record)


def situated(name: Any, situation: str, answer: str = "left") -> Any:
    return conversation(name, "sqa3d", f"<image> {situation} Where?", answer)


def test_situations_of_a_question_share_its_id_in_sqa3d(write: Writer) -> None:
    """As `sqa3d_train_llava_style.json`: a record per situation, all under the question's id."""
    records = [situated(220602000001, f"I am {word}.") for word in ("here", "there", "sitting")]
    found = read(write, "sqa3d", *records, situated(220602000002, "I lie."), split="train")
    assert [sample.sample_id for sample in found] == [
        "220602000001_0",
        "220602000001_1",
        "220602000001_2",
        "220602000002",
    ]
    assert [sample.prompt.split(".\n")[-1].split()[2] for sample in found][:2] == [
        "here.",
        "there.",
    ]


def test_an_id_of_two_questions_is_refused(write: Writer) -> None:
    with pytest.raises(AnnotationError, match=r"record 1: id: '1' is also record 0's, of another"):
        read(write, "sqa3d", situated(1, "a"), {**situated(1, "a"), "video": "scannet/s9"})
    with pytest.raises(AnnotationError, match="or with another answer"):
        read(write, "sqa3d", situated(1, "a"), situated(1, "b", answer="right"))
    record = conversation("a", "scanqa", "x", "y")
    with pytest.raises(AnnotationError, match="record 1: id: 'a' occurs twice"):
        read(write, "scanqa", record, record)
