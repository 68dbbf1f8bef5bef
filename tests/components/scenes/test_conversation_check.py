"""Faults of a file of conversations, told before anything runs: where, what, and the cure."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from threedrs_components.scenes.videos import check
from threedrs_components.scenes.videos.config import VideosConfig
from threedrs_components.scenes.videos.records import every_record

ASKED = {"role": "user", "content": "<image>\nWhat is this?"}
TOLD = {"role": "assistant", "content": "A chair."}
GOOD = {"messages": [ASKED, TOLD], "images": ["a/1.jpg"]}


def config(folder: Path, values: list[Any], **settings: Any) -> VideosConfig:
    """A file of lines, each a record or the text of one, and a folder of two images and a file."""
    (folder / "media/a").mkdir(parents=True, exist_ok=True)
    for name in ("1.jpg", "2.jpg", "3.json"):
        (folder / "media/a" / name).touch()
    path = folder / "own.jsonl"
    texts = [each if isinstance(each, str) else json.dumps(each) for each in values]
    path.write_text("".join(f"{text}\n" for text in texts))
    own = {"records": str(path), "media": str(folder / "media")}
    return VideosConfig.model_validate({"root": str(folder), "conversations": own, **settings})


def faults(found: VideosConfig) -> list[str]:
    return [f"{place}: {told}" for place, told in found.record_faults(absent_too=True)]


def test_good_conversations_of_either_form_have_no_faults(tmp_path: Path) -> None:
    two = "<image>\n<image>\nWhich?"
    llava = {
        "conversations": [{"from": "human", "value": two}, {"from": "gpt", "value": "The first."}],
        "image": ["a/1.jpg", "a/2.jpg"],
    }
    unmarked = {**GOOD, "messages": [{"role": "user", "content": "What is this?"}, TOLD]}
    later = {**GOOD, "messages": [ASKED, TOLD, {"role": "user", "content": "And why?"}, TOLD]}
    video = {"messages": [{"role": "user", "content": "<image> Where?"}, TOLD], "video": "a"}
    assert faults(config(tmp_path, [GOOD, llava, "", unmarked, later, video])) == []


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ("{", "records: {file}: line 3: is no JSON at column 2: Expecting property name"),
        (
            {**GOOD, "messages": [{"role": "bot", "content": "?"}, TOLD]},
            "line 3: messages.0.role: Input should be 'human', 'gpt' or 'system', not 'bot'",
        ),
        ({**GOOD, "messages": [ASKED]}, "line 3: conversations: a human turn and then a gpt turn"),
        ({"images": ["a/1.jpg"]}, "line 3: conversations (LLaVA) or messages (ms-swift): one of"),
        (
            {**GOOD, "images": ["a/1.jpg", "a/2.jpg"]},
            "line 3: images: 2, but <image> stands 1 times in what is asked; write it once for",
        ),
        ({**GOOD, "images": []}, "line 3: images: there are none, and no video"),
        ({**GOOD, "images": ["../x.jpg"]}, "line 3: '../x.jpg' leads out of its folder"),
        (
            {**GOOD, "images": ["b/1.jpg"]},
            "media: {file}: line 3: 'b/1.jpg' is not in {media}; is this the folder that names",
        ),
        (
            {**GOOD, "images": ["a/3.json"]},
            "line 3: 'a/3.json' is named as an image, and by its ending it is application/json",
        ),
    ],
)
def test_a_faulty_record_is_told_with_its_line_and_the_cure(
    tmp_path: Path, record: Any, told: str
) -> None:
    (found,) = faults(config(tmp_path, [GOOD, "", record]))
    assert found.startswith("scenes.conversations.")
    wanted = told.replace("{file}", str(tmp_path / "own.jsonl"))
    assert wanted.replace("{media}", str(tmp_path / "media")) in found


def test_of_many_faulty_records_the_first_are_told_and_the_number(tmp_path: Path) -> None:
    bad = {**GOOD, "images": []}
    found = faults(config(tmp_path, [bad] * 5 + [GOOD]))
    assert len(found) == 4
    assert found[-1].endswith(
        "5 of 6 records are faulty; scenes.on_bad_record: skip leaves them out"
    )
    assert faults(config(tmp_path, [bad, GOOD], on_bad_record="skip")) == []
    assert (
        "line 1: images: there are none" in faults(config(tmp_path, [bad], on_bad_record="skip"))[0]
    )
    absent = config(tmp_path, [{**GOOD, "images": ["a/9.jpg"]}, GOOD], on_bad_record="skip")
    assert "line 1: 'a/9.jpg' is not in" in faults(absent)[0]
    assert absent.record_faults(absent_too=False) == ()


def test_files_that_are_not_there_are_told(tmp_path: Path) -> None:
    found = config(tmp_path, [GOOD])
    (tmp_path / "own.jsonl").unlink()
    assert faults(found) == [
        f"scenes.conversations.records: {tmp_path / 'own.jsonl'}: no such file"
    ]
    (tmp_path / "own.json").write_text("[{},]")
    own = {"records": str(tmp_path / "own.json"), "media": str(tmp_path / "media")}
    (told,) = faults(VideosConfig.model_validate({"root": "x", "conversations": own}))
    assert "line 1, column 5" in told and "a comma stands behind the last value" in told


def test_no_folder_is_listed_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the time grows with the records, whatever the size of the folder."""
    listed: list[Path] = []

    def listdir(folder: Path) -> list[str]:
        listed.append(folder)
        return ["1.jpg"]

    found = config(tmp_path, [GOOD] * 50)
    monkeypatch.setattr("os.listdir", listdir)
    assert faults(found) == []
    assert listed == [tmp_path / "media/a"]


def test_records_are_read_one_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file of 665 thousand none is held while the next is read."""
    held: list[weakref.ref[Any]] = []

    def records(*args: Any) -> Iterator[Any]:
        for place, record in every_record(*args):
            assert not any(each() for each in held[:-1])
            held.append(weakref.ref(record[0]))
            yield place, record

    monkeypatch.setattr(check, "every_record", records)
    assert faults(config(tmp_path, [GOOD] * 5)) == []
    assert len(held) == 5
