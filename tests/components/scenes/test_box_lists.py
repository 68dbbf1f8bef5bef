"""Files of boxes for many scenes: both forms, one reader for scenes and benchmarks."""

import json
from pathlib import Path
from typing import Any

import pytest

from threedrs_components.benchmarks.annotation_files import AnnotationFolder, AnnotationPlaces
from threedrs_components.scenes.boxes import (
    read_box_lists,
    read_candidates,
    read_scene_boxes,
    write_exact_boxes,
)
from threedrs_platform.config.faults import validate
from threedrs_platform.errors import AnnotationError, SceneError

BOX, OTHER = [0.1, 0, 1, 2, 2, 2], [5, 5, 1, 1, 1, 1 / 3]


def test_both_forms_and_both_names_are_read(tmp_path: Path) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(
        json.dumps({"scannet/s0": [BOX, OTHER], "s1": {"7": BOX, "3": OTHER}, "s2": [], "s3": {}})
    )
    found = read_box_lists(path)
    assert [found[scene].ids for scene in ("s0", "s1", "s2", "s3")] == [(0, 1), (7, 3), (), ()]
    assert found["s1"].exact.tolist() == [BOX, OTHER]
    assert found["s2"].boxes.shape == (0, 6) and found["s0"].boxes.dtype == "float32"
    assert read_candidates(path)["s1"][0].tolist() == pytest.approx(BOX)
    write_exact_boxes(tmp_path / "again.json", found)
    assert {scene: each.ids for scene, each in read_box_lists(tmp_path / "again.json").items()} == {
        scene: each.ids for scene, each in found.items()
    }
    of_objects = AnnotationFolder(tmp_path, box_file=path).objects()
    assert of_objects.scene("s1") == {7: tuple(BOX), 3: tuple(OTHER)}
    with pytest.raises(AnnotationError, match="scene s1 has no object 0"):
        of_objects.of("s1", 0, "x.json", 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "holds a list; an object with boxes by scene"),
        ('{"s0": 3}', "record s0: boxes: is a int"),
        ('{"s0": [[0,0,0,1,1,1]], "scannet/s0": []}', "record scannet/s0: scene: occurs twice"),
        ('{"s0": [], "s0": []}', "key 's0' occurs twice"),
        ('{"s0": {"1": [0,0,0,1,1,1], "1": []}}', "key '1' occurs twice"),
        ('{"s0": {"1": [0,0,0,1,1,1], "01": [0,0,0,1,1,1]}}', "box 01: this object is given twice"),
        ('{"s0": {"lamp": [0,0,0,1,1,1]}}', "box lamp: objects are named by whole numbers"),
        ('{"s0": [[0,0,0,1,1,1], [0,0,0,1,1,NaN]]}', "record s0: box 1: a box is six finite"),
        ('{"s0": [[0,0,0,1,1,Infinity]]}', "record s0: box 0: a box is six finite"),
        ('{"s0": [[0,0,0,1,1,1e9]]}', "record s0: box 0: a box is six finite"),
        ('{"s0": [[0,0,0,1,1,true]]}', "record s0: box 0: a box is six finite"),
        ('{"s0": [[0,0,0,1,1,"1"]]}', "record s0: box 0: a box is six finite"),
        ('{"s0": {"4": [0,0,0,1,-1,1]}}', "record s0: box 4: has a negative size"),
        ('{"s0": [[0,0,0,1,1,1],]}', "a comma stands behind the last value, remove it"),
    ],
)
def test_faulty_boxes_are_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "boxes.json"
    path.write_text(content)
    with pytest.raises(AnnotationError, match=message) as caught:
        read_box_lists(path)
    assert caught.value.file == str(path)
    with pytest.raises(AnnotationError, match=message):
        AnnotationFolder(tmp_path, box_file=path).objects()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"boxes": [BOX, [0, 0, 0, 1, float("nan"), 1]]}, "box 1: a box is six finite numbers"),
        ({"boxes": [BOX, [0, 0, 0, 1, -1, 1]]}, "box 1: has a negative size"),
        ({"object_ids": [4, 4]}, "object 4 is given twice"),
        ({"object_ids": [4, float("inf")]}, "OverflowError"),
    ],
)
def test_faulty_boxes_of_a_scene_are_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "scenes" / "s0" / "boxes.json"
    path.parent.mkdir(parents=True)
    content = {"object_ids": [4, 5], "labels": ["lamp", "bed"], "boxes": [BOX, OTHER]}
    path.write_text(json.dumps(content))
    assert read_scene_boxes("s0", path)[0].object_ids == (4, 5)
    path.write_text(json.dumps(content | changes))
    with pytest.raises(SceneError, match=f"scene s0: .*{message}"):
        read_scene_boxes("s0", path)


def test_files_of_several_splits_are_read_together(tmp_path: Path) -> None:
    train, val, twice = (tmp_path / f"{name}.json" for name in ("train", "val", "twice"))
    train.write_text(json.dumps({"scannet/s0": [BOX]}))
    val.write_text(json.dumps({"s1": [OTHER], "s0": [BOX]}))
    twice.write_text(json.dumps({"s0": [OTHER]}))
    assert list(read_box_lists(train, val)) == ["s0", "s1"]
    with pytest.raises(AnnotationError, match=r"twice.json: record s0: scene: has other"):
        read_box_lists(train, val, twice)
    places = validate(AnnotationPlaces, {"box_file": [str(train), str(val)]})
    assert dict(places.named()) == {
        "benchmarks.box_file.0": str(train),
        "benchmarks.box_file.1": str(val),
    }
    found = places.folder(tmp_path, oracle=False).objects()
    assert found.scene("s0") == {0: tuple(BOX)} and found.scene("s1") == {0: tuple(OTHER)}
    one = validate(AnnotationPlaces, {"box_file": str(train)})
    assert dict(one.named()) == {"benchmarks.box_file": str(train)}
