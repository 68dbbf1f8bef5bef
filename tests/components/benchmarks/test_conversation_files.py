"""Training questions as conversations of LLaVA and ms-swift: written, and read again."""

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from threedrs_components.benchmarks.annotation_files import AnnotationFolder
from threedrs_components.benchmarks.annotation_sources import find_annotations
from threedrs_components.benchmarks.conversation_files import FILES, write_conversations
from threedrs_components.benchmarks.registry import BENCHMARKS, QUESTION_SETS
from threedrs_components.benchmarks.text_answers import boxes_in
from threedrs_components.benchmarks.wording import Wording
from threedrs_components.scenes.frames import read_color
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.prepared import PreparedScenes, prepare_scene, write_prepared
from threedrs_components.scenes.videos.config import RecordsConfig, VideosConfig
from threedrs_components.scenes.videos.reader import colour_scene
from threedrs_components.scenes.videos.records import draw_records
from threedrs_components.scenes.videos.source import Videos
from threedrs_components.testing.vsi_files import moving_square, write_clip
from threedrs_platform.errors import ConfigError, DataError
from threedrs_platform.records import Sample
from threedrs_workflows.cli import main

FIXTURES = Path(__file__).parent / "fixtures"
KINDS = ("scanrefer", "multi3drefer", "scan2cap", "scanqa", "sqa3d")
PLAIN = Wording(train_preamble="")
TURNS = [{"from": "human", "value": "<image>\nWhere?"}, {"from": "gpt", "value": "here"}]
MARKED = {"from": "gpt", "value": "as in <image>"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedScenes:
    root = tmp_path_factory.mktemp("prepared")
    for number, name in enumerate(("s0", "s1")):
        pixels = np.full((3, 24, 32, 3), 50 * number, np.uint8)
        scene = colour_scene(name, ["0", "1", "2"], pixels)
        write_prepared(prepare_scene(scene, None, PrepareConfig(image_size=28, grid=2)), root)
    return PreparedScenes(root)


def training_samples() -> list[Sample]:
    found: list[Sample] = []
    for name in KINDS:
        files = find_annotations(BENCHMARKS[name](), [FIXTURES / name], None, "train")
        found += BENCHMARKS[name].loader().samples_of(files, PLAIN, "train")
    return found


def learned(records: Path, media: Path, root: Path) -> tuple[list[Sample], Videos]:
    """The samples and scenes that a grid has of a file of conversations."""
    write_clip(_folder(root / "clips/scannet") / "s9.mp4", moving_square(4))
    config = VideosConfig(
        root=str(root / "clips"),
        conversations=RecordsConfig(records=str(records), media=str(media)),
    )
    written = _folder(root / "written")
    config.write(written, "student", lambda *_: None)
    loader = QUESTION_SETS["conversations"].loader()
    folder = AnnotationFolder(written, scenes=written)
    return loader.samples(folder, PLAIN, "train"), config.open(written)


def _folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


@pytest.mark.parametrize("form", list(FILES))
def test_what_is_written_is_learned_again(
    form: str, prepared: PreparedScenes, tmp_path: Path
) -> None:
    samples = training_samples()
    out = tmp_path / "out"
    files = write_conversations(samples, prepared, out, ["scanrefer"], [form])
    again, scenes = learned(out / files[form], out, tmp_path)
    assert len(again) == len(samples) == len(scenes.scenes("train"))
    for first, second in zip(samples, again, strict=True):
        images = scenes.load(second.scene_id).images
        assert np.array_equal(images, prepared[first.scene_id].images.numpy())
        if first.kind == "text" and first.box_input is None:
            assert (second.prompt, second.answers) == (first.prompt, first.answers[:1])
    described = next(s for s in again if "Given an object" in s.prompt)
    assert "<coord>" not in described.prompt and boxes_in(described.prompt)
    found = [(s, t) for s, t in zip(samples, again, strict=True) if s.kind == "ground"]
    assert found and all(boxes_in(t.answers[0]) == s.target_boxes for s, t in found)


def test_the_two_forms_are_those_of_their_programs(
    prepared: PreparedScenes, tmp_path: Path
) -> None:
    (sample,) = [each for each in training_samples() if each.benchmark == "scanqa"][:1]
    files = write_conversations([sample], prepared, tmp_path / "out")
    frames = [f"frames/{sample.scene_id}/{number:02d}.png" for number in range(3)]
    (llava,) = json.loads((tmp_path / "out" / files["llava"]).read_text())
    question = "<image>\n" * 3 + sample.prompt
    assert llava == {
        "id": sample.sample_id,
        "image": frames,
        "conversations": [
            {"from": "human", "value": question},
            {"from": "gpt", "value": sample.answers[0]},
        ],
        "data_source": "scanqa",
    }
    swift = json.loads((tmp_path / "out" / files["ms-swift"]).read_text())
    assert swift == {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": sample.answers[0]},
        ],
        "images": frames,
    }
    assert all(read_color(tmp_path / "out" / name).shape == (28, 28, 3) for name in frames)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prompt": "Is <image> dark?"}, "its question holds the text <image>, which stands for"),
        ({"prompt": "Is <video> dark?"}, "its question holds the text <video>"),
        ({"answers": ("the <image>",)}, "its answer holds the text <image>"),
        ({"answers": ("",)}, "has no answer, so there is nothing to learn of it"),
        ({"answers": ()}, "has no answer"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(
    change: dict[str, Any], message: str, prepared: PreparedScenes, tmp_path: Path
) -> None:
    sample = replace(next(s for s in training_samples() if s.benchmark == "scanqa"), **change)
    with pytest.raises(DataError, match=f"{sample.sample_id}: {message}"):
        write_conversations([sample], prepared, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_answer_of_a_conversation_is_learned(tmp_path: Path) -> None:
    Image.new("RGB", (8, 6)).save(tmp_path / "a.png")
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "<image>What?"},
        {"role": "assistant", "content": "a cat"},
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": "there"},
    ]
    records = tmp_path / "r.jsonl"
    absolute = str((tmp_path / "a.png").absolute())
    records.write_text(json.dumps({"messages": messages, "images": [absolute]}))
    samples, scenes = learned(records, tmp_path, tmp_path / "root")
    assert [(s.prompt, s.answers) for s in samples] == [
        ("What?", ("a cat",)),
        ("Where?", ("there",)),
    ]
    assert len({s.scene_id for s in samples}) == 1 == len(scenes.scenes("train"))
    assert len({s.sample_id for s in samples}) == 2
    assert scenes.load(samples[1].scene_id).images.shape == (1, 6, 8, 3)


def test_a_video_is_seen_as_clips_are(tmp_path: Path) -> None:
    write_clip(tmp_path / "v.mp4", moving_square(40))
    name = "v.mp4" if (tmp_path / "v.mp4").exists() else "v"
    turns = [{"role": "user", "content": "<video>What?"}, {"role": "assistant", "content": "x"}]
    records = tmp_path / "r.jsonl"
    records.write_text(json.dumps({"messages": turns, "videos": [name]}))
    (sample,), scenes = learned(records, tmp_path, tmp_path / "root")
    assert sample.prompt == "What?" and len(scenes.load(sample.scene_id).frame_names) == 32


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"image": "a.png"}, "conversations (LLaVA) or messages (ms-swift): one of them is needed"),
        ({"conversations": TURNS, "messages": TURNS, "image": "a.png"}, "one of them is needed"),
        ({"conversations": TURNS}, "images: there are none, and no video"),
        ({"conversations": TURNS[:1], "image": "a"}, "a human turn and then a gpt turn are needed"),
        ({"conversations": TURNS + TURNS[1:], "image": "a"}, "a human turn and then a gpt turn"),
        ({"conversations": [{"from": "who", "value": "x"}], "image": "a"}, "conversations.0.from"),
        ({"messages": [{"role": "user", "content": [1]}], "images": ["a"]}, "messages.0.content"),
        ({"conversations": TURNS, "image": "../a.png"}, "'../a.png' leads out of its folder"),
        ({"conversations": TURNS, "image": "/etc/a.png"}, "set media to a folder that holds all"),
        (
            {"conversations": TURNS, "videos": ["a", "b"]},
            "videos: there are 2; a question",
        ),
        (
            {"conversations": [TURNS[0], {"from": "gpt", "value": " "}], "image": "a.png"},
            "answer 0 is empty: there is nothing to learn of it",
        ),
        (
            {"conversations": [*TURNS, TURNS[1] | {"from": "human"}, MARKED], "image": "a.png"},
            "<image> stands in answer 1; images stand in what is asked",
        ),
    ],
)
def test_faulty_records_are_named(record: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps([{"conversations": TURNS, "image": "a.png"}, record]))
    drawn = draw_records("conversations", path, 1.0, random.Random(0), tmp_path)
    assert (len(drawn.good), list(drawn.bad)) == (1, [1]) and message in drawn.bad[1]
    with pytest.raises(DataError, match=r"r.json: record 1: .*; 1 of 2 drawn records are faulty"):
        learned(path, tmp_path, tmp_path / "root")


def test_vg_llm_reads_the_first_question_of_a_record(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps([{"conversations": TURNS * 2, "video": "v"}]))
    assert len(draw_records("llava_hound", path, 1.0, random.Random(0)).good) == 1
    assert len(draw_records("conversations", path, 1.0, random.Random(0)).good) == 2


def test_the_verb_writes_both_forms(
    prepared: PreparedScenes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(FIXTURES / "scanqa", tmp_path / "data")
    places = ["--prepared", str(prepared.root), "--annotations", str(tmp_path / "data")]
    command = ["export", "conversations", *places, "--benchmarks", "scanqa", "--json"]
    out = ["--out", str(tmp_path / "out")]
    assert main([*command, *out]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["files"] == FILES and content["questions"] > 1
    assert main([*command, *out]) == ConfigError.exit_code, "it is not written over"
    assert "holds something; name a new folder" in capsys.readouterr().out
    assert main(["export", "conversations", *out]) == ConfigError.exit_code
    assert "name either a run (--run, --cell) or files" in capsys.readouterr().err
    assert main(["export", "lmms", *out]) == ConfigError.exit_code
    assert "no form 'lmms'; did you mean 'lmms-eval'?" in capsys.readouterr().err
