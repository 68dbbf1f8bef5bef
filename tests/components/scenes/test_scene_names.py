from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from threedrs_components.benchmarks.annotations import Record, SceneId, parse_records
from threedrs_components.json_files import read_json
from threedrs_components.scenes.embodiedscan import read_frame_lists
from threedrs_components.scenes.scene_names import is_name, is_scene_id
from threedrs_components.scenes.splits import SPLITS_FILE, read_splits
from threedrs_platform.errors import AnnotationError, DataError


@pytest.mark.parametrize("text", ["scene0000_00", "41069025", "_a", "036bce3393", "a-b"])
def test_names_of_data_sets_and_scenes(text: str) -> None:
    assert is_name(text) and is_scene_id(text)


def test_a_scene_among_those_of_all_data_sets_has_a_dot() -> None:
    assert is_scene_id("arkitscenes.41069025") and not is_name("arkitscenes.41069025")


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "a..b", ".a", "a.", "../a", "a/b", "a\\b", "a\0", "a\n", "-a", "a b"],
)
def test_what_leads_elsewhere_is_no_name(text: str) -> None:
    assert not is_name(text) and not is_scene_id(text)


@pytest.mark.parametrize("name", ["../a", "/etc/a", "a/../../b", "", "a\0b", ".."])
def test_no_scene_of_a_split_leads_out_of_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / SPLITS_FILE).write_text(json.dumps({"val": ["room", name]}))
    with pytest.raises(DataError, match=r"splits.json: scene id '.*' leads out of its folder"):
        read_splits(tmp_path)


def test_a_scene_of_a_split_is_one_folder(tmp_path: Path) -> None:
    (tmp_path / SPLITS_FILE).write_text(json.dumps({"val": ["a/b"]}))
    with pytest.raises(DataError, match="'a/b' names no file or folder of a scene"):
        read_splits(tmp_path)


@pytest.mark.parametrize("scene", ["scannet//etc", "../scene0011_00", "/etc"])
def test_no_scene_of_an_annotation_leads_out_of_its_folder(scene: str) -> None:
    class Asked(Record):
        scene_id: SceneId

    with pytest.raises(AnnotationError, match=r"record 0: scene_id: .* leads out of its folder"):
        parse_records([{"scene_id": scene}], Asked, "file.json")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x80\x04]r\xff\xff\xff\x3f.", "object number 1,073,741,823 in 9 bytes"),
        (b"]p1073741823\n.", "object number 1,073,741,823 in 14 bytes"),
        (b"\x80\x05\x96\x00\x00\x00\x00\x02\x00\x00\x00abc.", "8,589,934,592 bytes more"),
        (b"\x80\x02cnumpy\nndarray\n(J\x00\x00\x00\x40t\x85R.", "takes no arguments"),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_pickle_gets_no_more_memory_than_it_has_bytes(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    path = tmp_path / "infos.pkl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        read_frame_lists(path)


def test_a_key_twice_among_many_is_found_at_once(tmp_path: Path) -> None:
    path = tmp_path / "many.json"
    path.write_text("{" + ",".join(f'"k{n}":1' for n in range(50_000)) + ',"k49999":2}')
    began = time.process_time()
    with pytest.raises(AnnotationError, match="key 'k49999' occurs twice"):
        read_json(path)
    assert time.process_time() - began < 5
