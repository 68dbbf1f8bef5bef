"""Questions on one or several images whose answer is a letter: their files, images and scores."""

import base64
import json
import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from threedrs_components.benchmarks.annotation_files import AnnotationFolder
from threedrs_components.benchmarks.choice_scores import ChoiceScorer
from threedrs_components.benchmarks.multi_image_choice import ChoiceLoader, count_lettered
from threedrs_components.benchmarks.question_images import LaidOut, lay_out
from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.benchmarks.scoring import score
from threedrs_components.benchmarks.wording import Wording
from threedrs_components.scenes.frames import read_color
from threedrs_components.scenes.videos.config import VideosConfig
from threedrs_components.testing.vsi_files import write_parquet
from threedrs_platform.errors import AnnotationError, ConfigError
from threedrs_platform.records import Sample
from threedrs_workflows.cli import main

FIXTURES = Path(__file__).parent / "fixtures"
KINDS = ("mindcube", "viewspatial", "embspatial", "blink", "mmsi")
Writer = Callable[[str, Any], Path]


def loader_of(kind: str) -> ChoiceLoader:
    loader = BENCHMARKS[kind].loader()
    assert isinstance(loader, ChoiceLoader)
    return loader


def samples_of(kind: str, folder: Path, split: str = "val") -> list[Sample]:
    return loader_of(kind).samples(AnnotationFolder(folder), Wording(), split)


def picture(shade: int, size: tuple[int, int] = (8, 6), form: str = "PNG") -> bytes:
    content = BytesIO()
    Image.new("RGB", size, (shade, shade, shade)).save(content, form)
    return content.getvalue()


def lay(kind: str, folder: Path, out: Path, media: Path | None, split: str = "val") -> LaidOut:
    loader = loader_of(kind)
    files = loader.locate(AnnotationFolder(folder), split)
    return lay_out(kind, loader.choices(files.values()), media, out, files.records[0])


def media_of(kind: str, root: Path) -> Path:
    """The images that a fixture names, each of a shade of its own."""
    loader = loader_of(kind)
    files = loader.locate(AnnotationFolder(FIXTURES / kind), "val")
    names = [image for choice in loader.choices(files.values()) for image in choice.images]
    for shade, name in enumerate(names):
        assert isinstance(name, str)
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(picture(shade, form="JPEG"))
    return root


@pytest.mark.parametrize("kind", KINDS)
def test_every_question_finds_its_images_as_a_clip(kind: str, tmp_path: Path) -> None:
    media = media_of(kind, tmp_path / "media")
    found = lay(kind, FIXTURES / kind, tmp_path / "clips", media)
    again = lay(kind, FIXTURES / kind, tmp_path / "clips", media)
    assert (found.kept, again.kept) == (0, found.scenes)
    scenes = VideosConfig(root=str(tmp_path / "clips"), datasets=(kind,), moments="all")
    (tmp_path / "written/annotations").mkdir(parents=True)
    source = scenes.open(tmp_path / "written")
    samples = samples_of(kind, FIXTURES / kind)
    assert {sample.scene_id for sample in samples} == set(source.scenes("val"))
    frames = [len(source.load(sample.scene_id).frame_names) for sample in samples]
    assert max(frames) == found.most_images
    assert all("<" not in sample.prompt for sample in samples)
    assert all(int(sample.tags["options"]) >= 2 for sample in samples)


def test_images_that_stand_in_parquet_files(tmp_path: Path) -> None:
    """As the hub has BLINK and MMSI-Bench: an image is {bytes, path}, or bytes."""
    records = (FIXTURES / "blink/annotations/blink_val.jsonl").read_text().splitlines()
    for number, line in enumerate(records):
        row = json.loads(line) | {"image_1": {"bytes": picture(number), "path": "x.jpg"}}
        task = tmp_path / "blink" / row["sub_task"]
        task.mkdir(parents=True)
        if row["image_2"]:
            row["image_2"] = {"bytes": picture(9), "path": "y.jpg"}
        write_parquet(task / "val-00000-of-00001.parquet", [row])
    found = lay("blink", tmp_path / "blink", tmp_path / "clips", None)
    assert (found.questions, found.scenes, found.most_images) == (2, 2, 2)
    blink = samples_of("blink", tmp_path / "blink")
    assert {sample.question_type for sample in blink} == {"Relative_Depth", "Multi-view_Reasoning"}
    rows = [
        json.loads(line) | {"images": [picture(1), picture(2, (4, 12))]}
        for line in (FIXTURES / "mmsi/annotations/mmsi_val.jsonl").read_text().splitlines()
    ]
    (tmp_path / "mmsi").mkdir()
    write_parquet(tmp_path / "mmsi/MMSI_Bench.parquet", rows)
    found = lay("mmsi", tmp_path / "mmsi", tmp_path / "clips", None, "test")
    assert (found.questions, found.scenes, found.resized) == (2, 1, 1), "they share their images"
    sizes = {read_color(path).shape for path in (tmp_path / "clips/mmsi").rglob("*.png")}
    assert sizes == {(12, 8, 3)}
    (scene,) = {sample.scene_id for sample in samples_of("mmsi", tmp_path / "mmsi", "test")}
    assert (tmp_path / "clips/mmsi" / scene.removeprefix("mmsi.")).is_dir()


def test_base64_of_embspatial(write: Writer, tmp_path: Path) -> None:
    record = json.loads((FIXTURES / "embspatial/annotations/embspatial_val.json").read_text())[0]
    for form in ("JPEG", "PNG"):
        record["image"] = base64.b64encode(picture(7, form=form)).decode()
        write("embspatial_bench.json", [record])
        assert lay("embspatial", tmp_path, tmp_path / form, None, "test").scenes == 1
        (path,) = (tmp_path / form).rglob("00.*")
        assert path.suffix == {"JPEG": ".jpg", "PNG": ".png"}[form]


def test_published_files_are_not_touched(tmp_path: Path, write: Writer) -> None:
    media = media_of("mindcube", tmp_path / "media")
    first = media / "other_all_image/among/group0/front.jpg"
    first.write_bytes(picture(3, (20, 20), "JPEG"))
    before = first.read_bytes()
    assert lay("mindcube", FIXTURES / "mindcube", tmp_path / "clips", media).resized == 1
    assert first.read_bytes() == before
    linked = next((tmp_path / "clips").rglob("*.jpg"))
    assert os.stat(linked).st_nlink == 2, "no second copy on one disk"


ANSWERS = [
    # answer, letter, mindcube, viewspatial, embspatial, blink, mmsi
    ("B", "B", "B", "B", "B", "B", "B"),
    ("(b)", "B", "", "B", "B", "B", "B"),
    ("B. left", "B", "B", "B", "B", "B", "B"),
    ("The answer is C.", "", "C", "C", "", "C", "C"),
    ("``D``", "D", "D", "D", "", "", "D"),
    ("A chair, so (C)", "", "A", "A", "A", "C", "C"),
    ("I see.\nMy view: D", "", "D", "D", "", "", "D"),
    ("behind", "", "", "", "B", "B", ""),
    ("<Answer>My answer is B</Answer> A", "", "B", "B", "", "B", "B"),
    ("", "", "", "", "", "", ""),
    ("E", "", "E", "", "", "", "E"),
]


@pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: repr(answer[0]))
def test_letters_are_found_where_a_protocol_looks(answer: tuple[str, ...], write: Writer) -> None:
    """`tests/bench/lmms_eval_run.py` compares with lmms-eval itself, on thousands of texts."""
    text, direct, *published = answer
    for kind, letter in zip(KINDS, published, strict=True):
        scorer = BENCHMARKS[kind].scorer
        assert issubclass(scorer, ChoiceScorer)
        assert scorer.published_letter(text, "ABCD") == letter, kind
    records = (FIXTURES / "mindcube/annotations/mindcube_val.jsonl").read_text().splitlines()
    right = write("mindcube_val.jsonl", [json.loads(records[0]) | {"gt_answer": direct or "A"}])
    given = write("p.jsonl", [{"id": json.loads(records[0])["id"], "text": f" {text}\n"}])
    found = score("mindcube", predictions=given, annotations=right)
    assert found.metrics["accuracy"].value == (100.0 if direct else 0.0)
    assert bool(found.unread) == (not direct)


def test_chance_and_majority_are_of_options_and_letters(write: Writer) -> None:
    path = FIXTURES / "mindcube/annotations/mindcube_val.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    twin = [records[0] | {"id": f"among_group0_{n}", "gt_answer": "B"} for n in (1, 2)]
    questions = write("mindcube_val.jsonl", [*records, *twin])
    answers = [{"id": records[0]["id"], "text": "A"}, {"id": twin[0]["id"], "text": "none of it"}]
    found = score("mindcube", predictions=write("p.jsonl", answers), annotations=questions)
    accuracy = found.metrics["accuracy"]
    assert (accuracy.value, accuracy.n, found.missing) == (20.0, 5, 3)
    assert accuracy.chance == pytest.approx(100 * (4 / 4 + 1 / 2) / 5)
    assert accuracy.majority == pytest.approx(100 * 4 / 5), "B, C and B; A is the rarer of `among`"
    assert found.per_type["among"]["accuracy"].value == pytest.approx(100 / 3)
    (unread,) = found.unread
    assert (unread.count, unread.of) == (1, 2)


def test_data_sets_are_scored_apart(write: Writer) -> None:
    path = FIXTURES / "embspatial/annotations/embspatial_val.json"
    answers = write("p.jsonl", [{"id": "mp3d_0", "text": "C"}, {"id": "scannet_0", "text": "B"}])
    found = score("embspatial", predictions=answers, annotations=path)
    values = {name: each["accuracy"].value for name, each in found.per_type.items()}
    assert values == {"close": 100.0, "left": 0.0, "mp3d": 100.0, "scannet": 0.0}


@pytest.mark.parametrize(
    ("text", "mark", "count"),
    [
        ("left? A. Sofa B. TV C. Lamp", ".", 3),
        ("A. Sofa C. Lamp", ".", 1),
        ("no options", ".", 0),
        ("Options: A: left, B: right", ":", 2),
        ("At point A, see MA. B. then", ".", 0),
    ],
)
def test_options_in_a_question_are_counted_in_order(text: str, mark: str, count: int) -> None:
    assert count_lettered(text, mark) == count


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        ("mindcube", {"question": "Where?"}, "record 0: record: 0 options are found"),
        ("mindcube", {"gt_answer": "E"}, "the answer 'E' is none of the options ABCD"),
        ("mindcube", {"gt_answer": ""}, "the answer '' is none of the options ABCD"),
        ("mindcube", {"gt_answer": "BC"}, "the answer 'BC' is none of the options ABCD"),
        ("mmsi", {"answer": "AB"}, "the answer 'AB' is none of the options AB"),
        ("blink", {"answer": "()"}, "the answer '' is none of the options AB"),
        ("viewspatial", {"answer": ""}, "the answer '' is none of the lines of choices"),
        ("viewspatial", {"answer": "Behind the chair"}, "is none of the lines of choices"),
        ("embspatial", {"answer": True}, "record 0: answer: Input should be a valid integer"),
        ("embspatial", {"answer": 1.0}, "record 0: answer: Input should be a valid integer"),
        (
            "embspatial",
            {"answer_options": ["near"] * 40},
            "40 options are found; there are letters",
        ),
        ("mindcube", {"images": ["../../etc/passwd"]}, "images.0: '../../etc/passwd' leads out"),
        ("mindcube", {"images": []}, "there is no image"),
        ("embspatial", {"answer": 4}, "the answer 'E' is none of the options ABCD"),
        ("embspatial", {"answer": -1}, "the answer -1 is no place among options"),
        ("embspatial", {"image": "/9j/!"}, "record 0: image"),
        ("blink", {"answer": "hidden"}, "answers of test are not published; ask the split val"),
        ("blink", {"image_1": {"bytes": None}}, "image_1: must be an image: its bytes or the name"),
    ],
)
def test_faulty_records_are_named(
    kind: str, change: dict[str, Any], message: str, write: Writer
) -> None:
    (source,) = (FIXTURES / kind / "annotations").glob(f"{kind}_val.*")
    text = source.read_text()
    lines = source.suffix == ".jsonl"
    values = [json.loads(line) for line in text.splitlines()] if lines else json.loads(text)
    path = write(source.name, [values[0] | change, *values[1:]])
    with pytest.raises(AnnotationError) as caught:
        samples_of(kind, path.parent)
    assert message in str(caught.value) and source.name in str(caught.value)


def test_missing_images_are_named_with_the_cure(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"record among_group0_q0_1_0: images: .*--media"):
        lay("mindcube", FIXTURES / "mindcube", tmp_path / "clips", None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(AnnotationError, match=r"no such file; is --media .*empty the folder that"):
        lay("mindcube", FIXTURES / "mindcube", tmp_path / "clips", tmp_path / "empty")
    media = media_of("mindcube", tmp_path / "media")
    (media / "other_all_image/among/group0/front.jpg").write_bytes(b"no image")
    with pytest.raises(AnnotationError, match=r"among_group0_q0_1_0: images: cannot identify"):
        lay("mindcube", FIXTURES / "mindcube", tmp_path / "clips", media)


def test_an_image_larger_than_any_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    media = media_of("mindcube", tmp_path / "media")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 8)
    with pytest.raises(AnnotationError, match=r"among_group0_q0_1_0: images: .*exceeds limit"):
        lay("mindcube", FIXTURES / "mindcube", tmp_path / "clips", media)


def test_the_verb_lays_them_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    media = media_of("viewspatial", tmp_path / "media")
    places = ["--annotations", str(FIXTURES / "viewspatial"), "--media", str(media)]
    out = ["--split", "val", "--out", str(tmp_path / "clips"), "--json"]
    assert main(["prepare", "question-images", "viewspatial", *places, *out]) == 0
    content = json.loads(capsys.readouterr().out)
    assert (content["questions"], content["scenes"], content["resized"]) == (2, 2, 0)
    assert main(["prepare", "question-images", "scanqa", *places, *out]) == ConfigError.exit_code
    assert "no benchmark 'scanqa' with images of its own" in capsys.readouterr().out


def test_a_picture_keeps_its_pixels(tmp_path: Path) -> None:
    media = media_of("mindcube", tmp_path / "media")
    lay("mindcube", FIXTURES / "mindcube", tmp_path / "clips", media)
    clip = loader_of("mindcube").samples(AnnotationFolder(FIXTURES / "mindcube"), Wording(), "val")
    folder = tmp_path / "clips/mindcube" / clip[1].scene_id.removeprefix("mindcube.")
    shades = [read_color(path).mean().round() for path in sorted(folder.iterdir())]
    assert shades == [2.0, 3.0], "in the order of the question"
