"""Clips, images with marks, and records to learn from: what is read, and what is refused."""

from __future__ import annotations

import errno
import json
import random
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from threedrs_components.scenes.clip_names import scene_of
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.prepared import prepare_scene, scene_pairs
from threedrs_components.scenes.scene_names import inside
from threedrs_components.scenes.videos.config import VideosConfig
from threedrs_components.scenes.videos.marks import PAINTINGS, marks_of, paint
from threedrs_components.scenes.videos.reader import read_clip
from threedrs_components.scenes.videos.records import draw_records
from threedrs_components.scenes.videos.source import find_clips
from threedrs_components.testing.scene_sources import tiny_scenes
from threedrs_components.testing.vsi_files import HOUND_RECORDS, SPAR_RECORDS, write_clip
from threedrs_platform.errors import AnnotationError, DataError, SceneError, StorageError
from threedrs_platform.identity.source_code import code_digest

needs_av = pytest.mark.skipif(
    find_spec("av") is None, reason="PyAV is not installed: pip install av"
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video of eleven frames: the grey of frame f is 20 f."""
    path = tmp_path_factory.mktemp("clips") / "clip.mp4"
    frames = np.stack([np.full((48, 64, 3), 20 * index, np.uint8) for index in range(11)])
    write_clip(path, frames)
    return path


def write_images(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for index in range(count):
        Image.fromarray(np.full((48, 64, 3), 20 * index, np.uint8)).save(folder / f"{index:03}.png")
    return folder


@needs_av
def test_a_clip_is_seen_at_the_moments_of_the_released_evaluators(
    clip: Path, tmp_path: Path
) -> None:
    video, folder = (
        read_clip("s", path, most=4) for path in (clip, write_images(tmp_path / "f", 11))
    )
    greys = [int(image.mean().round(-1)) for image in video.images]
    assert greys == [20 * int(moment) for moment in np.linspace(0, 10, 4)] == [0, 60, 120, 200]
    assert np.abs(video.images.astype(int) - folder.images).max() <= 6
    assert not video.has_geometry and not folder.has_geometry
    assert video.frame_names == ("000000", "000003", "000006", "000010")


@needs_av
def test_a_clip_with_fewer_frames_is_seen_whole_without_repeats(clip: Path) -> None:
    assert len(read_clip("s", clip, most=32).frame_names) == 11
    assert len(read_clip("s", clip, most=11, moments="all").frame_names) == 11
    with pytest.raises(SceneError, match="holds 11 frames, and scenes"):
        read_clip("s", clip, most=4, moments="all")


@needs_av
def test_what_is_no_whole_video_is_refused_by_its_scene(clip: Path, tmp_path: Path) -> None:
    import av

    content = clip.read_bytes()
    silent = tmp_path / "sound.mp4"
    with av.open(str(silent), "w") as out:
        stream = out.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        out.mux(stream.encode(frame))
        out.mux(stream.encode())
    empty = tmp_path / "empty.mp4"
    with av.open(str(empty), "w") as out:
        pictures = out.add_stream("mpeg4", rate=24)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        out.start_encoding()
    head, table = content.index(b"mdat"), content.index(b"moov")
    assert head < table
    for name, data, told in (
        ("cut.mp4", content[: table - 4], "no video that can be read"),
        ("text.mp4", b"<html>not found</html>" * 50, "no video that can be read"),
        ("nothing.mp4", b"", "no video that can be read"),
        ("sound.mp4", silent.read_bytes(), "has no pictures"),
        ("empty.mp4", empty.read_bytes(), "no video that can be read|no frame|no pictures"),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        with pytest.raises(SceneError, match=f"^scene s: .*({told})"):
            read_clip("s", path, most=4)
    with pytest.raises(SceneError, match="no such video"):
        read_clip("s", tmp_path / "none.mp4", most=4)


@needs_av
def test_a_clip_whose_end_is_missing_is_refused(tmp_path: Path) -> None:
    import av

    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    with av.open(str(whole), "w", options={"movflags": "faststart"}) as out:
        stream = out.add_stream("mpeg4", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for image in np.random.default_rng(0).integers(0, 255, (12, 48, 64, 3), np.uint8):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode())
    content = whole.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    assert len(read_clip("s", whole, most=32).frame_names) == 12
    with pytest.raises(SceneError, match=r"cut off: \d of 12 frames|cannot be|can be read"):
        read_clip("s", cut, most=32)


class Disk:
    """A file on it."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __enter__(self) -> Disk:
        return self

    def __exit__(self, *_: object) -> None: ...

    def read(self, size: int) -> bytes:
        raise self.error


@needs_av
@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(errno.EIO, "Input/output error"), "output error"),
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files"),
        (MemoryError(), "memory"),
    ],
)
def test_what_the_machine_does_wrong_is_no_fault_of_the_clip(
    error: Exception, told: str, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "open", lambda *_: Disk(error))
    with pytest.raises(StorageError, match=told):
        read_clip("s", clip, most=4)


def test_records_are_read_as_annotation_files_are(tmp_path: Path) -> None:
    path = tmp_path / "hound.json"
    turns = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "That."}]
    record = {"id": 1, "conversations": turns, "video": "v"}
    path.write_bytes(json.dumps([record]).encode("utf-16"))
    assert draw_records("llava_hound", path, 1.0, random.Random(0)).good[0].answer == "That."
    for text, told in (
        (json.dumps(record), "is no list of records"),
        ('[{"id": 1, "id": 2}]', "'id' occurs twice"),
        ("[" * 100_000, "nested too deeply"),
    ):
        path.write_text(text)
        with pytest.raises(AnnotationError, match=told):
            draw_records("llava_hound", path, 1.0, random.Random(0))


def test_pyav_is_needed_where_a_clip_is_a_video_file(tmp_path: Path) -> None:
    write_images(tmp_path / "scannet/s1", 2)
    (tmp_path / "scannet/._s1.mp4").touch()
    config = VideosConfig(root=str(tmp_path))
    assert config.package is None
    (tmp_path / "scannet/s2.MP4").write_bytes(b"x")
    assert config.package == ("av", "-e '.[video]'")
    assert VideosConfig(root=str(tmp_path), datasets=("arkitscenes",)).package is None
    assert VideosConfig(root=str(tmp_path / "nowhere")).package is None


@needs_av
def test_what_decodes_clips_is_part_of_keys() -> None:
    assert "av" in code_digest(f"{VideosConfig.__module__}:VideosConfig").packages
    assert "av" not in code_digest(f"{PrepareConfig.__module__}:PrepareConfig").packages


def test_without_pyav_the_cure_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DataError, match=r"pip install -e '\.\[video\]'") as told:
        read_clip("s", tmp_path / "clip.mp4", most=4)
    assert not isinstance(told.value, SceneError), "no scene is at fault, and none is skipped"


def test_clips_of_different_data_sets_never_share_a_name(tmp_path: Path) -> None:
    for dataset in ("scannet", "scannetpp", "arkitscenes"):
        write_images(tmp_path / dataset / "s1", 2)
    found = find_clips(tmp_path, None)
    assert sorted(found) == ["arkitscenes.s1", "s1", "scannetpp.s1"]
    assert list(find_clips(tmp_path, ("scannet",))) == ["s1"]
    (tmp_path / "scannet/s1.mp4").write_bytes(b"x")
    with pytest.raises(DataError, match="scene s1 is also"):
        find_clips(tmp_path, None)


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", "", "a.b", "a b"])
def test_a_name_that_is_no_files_name_is_refused(name: str) -> None:
    for dataset, scene in (("scannet", name), (name, "s")):
        with pytest.raises(ValueError, match="is no name of a data set or scene"):
            scene_of(dataset, scene)


def test_a_packed_data_set_is_named(tmp_path: Path) -> None:
    write_images(tmp_path / "scannet" / "s1", 2)
    (tmp_path / "scannetpp.zip").write_bytes(b"PK")
    with pytest.raises(DataError, match="unzip scannetpp"):
        find_clips(tmp_path, None)
    assert list(find_clips(tmp_path, ("scannet",))) == ["s1"]
    with pytest.raises(DataError, match="arkitscenes: no such folder"):
        find_clips(tmp_path, ("arkitscenes",))


def test_a_scene_of_colour_alone_has_tokens_without_a_place(tmp_path: Path) -> None:
    scene = read_clip("s", write_images(tmp_path / "f", 3), most=8)
    config = PrepareConfig(image_size=32, grid=2, num_frames=8, invalid_depth="camera_centre")
    prepared = prepare_scene(scene, None, config)
    assert prepared.images.shape == (3, 32, 32, 3), "fewer than num_frames, and no repeats"
    assert not prepared.counts.any() and not prepared.coordinates.any()
    assert scene_pairs(prepared, level="pixel", voxel_m=0.1).positive_pairs == 0


def test_marks_are_painted_at_their_thousandths() -> None:
    black = np.zeros((100, 200, 3), np.uint8)
    info = {
        "type": "distance_prediction_oo_mv",
        "red_point": [[500, 500]],
        "blue_point": [[250, 500]],
        "point_img_idx": [[0, 1]],
    }
    first, second = paint([black, black], marks_of(json.dumps(info), 2))
    assert tuple(first[50, 100]) == (255, 0, 0) and tuple(second[50, 50]) == (0, 0, 255)
    across = np.flatnonzero(first[50, :, 0])
    assert across.size == 41 and across[0] == 80, "a disc of radius 20"
    assert not black.any() and not first[:, :, 2].any()


def test_a_box_is_drawn_round_its_object() -> None:
    black = np.zeros((200, 200, 3), np.uint8)
    info = {"type": "spatial_volume_infer", "red_bbox": [[400, 400, 600, 600]]}
    (image,) = paint([black], marks_of(json.dumps(info), 1))
    row = np.flatnonzero(image[100, :, 0])
    assert (row[0], row[-1]) == (62, 137) and row.size == 40, "17.5 pixels outside, 20 wide"


@pytest.mark.parametrize("kind", PAINTINGS)
def test_every_type_paints_what_it_says(kind: str) -> None:
    info: dict[str, Any] = {
        "type": kind,
        "point_img_idx": [[0, 1, 2]],
        "bbox_img_idx": [[0, 1, 2, 2]],
    }
    painting = PAINTINGS[kind]
    for shape, value in (("point", [500, 500]), ("bbox", [100, 100, 900, 900])):
        for colour in painting.colours if painting is not None else ("red",):
            info[f"{colour}_{shape}"] = [value]
        info[f"{shape}_list"] = [[value, value]]
    marks = marks_of(json.dumps(info), 3)
    if painting is None:
        assert not marks
        return
    assert {mark.shape for mark in marks} == {painting.shape}
    assert len(marks) == (2 if painting.named else len(painting.colours))
    assert ({mark.image for mark in marks} == {0}) == (
        painting.place != "listed" or len(marks) == 1
    )
    images = [np.zeros((60, 60, 3), np.uint8)] * 3
    assert all(paint(images, marks)[mark.image].any() for mark in marks)


def test_a_type_that_nobody_described_has_all_its_marks() -> None:
    info = {
        "type": "new",
        "red_point": [[1, 2]],
        "blue_bbox": [[1, 2, 3, 4]],
        "bbox_img_idx": [[1]],
    }
    found = [(mark.shape, mark.colour, mark.image) for mark in marks_of(json.dumps(info), 2)]
    assert found == [("point", "red", 0), ("bbox", "blue", 1)]


@pytest.mark.parametrize(
    ("info", "told"),
    [
        ({}, "no type"),
        ({"type": "spatial_volume_infer"}, "needs red_bbox"),
        ({"type": "spatial_volume_infer", "red_bbox": [[0, 0, 1]]}, "no bbox of 4 numbers"),
        ({"type": "distance_prediction_oc", "red_point": [[0, 1001]]}, "from 0 to 1000"),
        ({"type": "distance_prediction_oc", "red_point": {"x": 1}}, "no point of 2 numbers"),
        ({"type": "obj_frame_locate", "red_bbox": [[0, 0, 1, 1]], "bbox_img_idx": [[7]]}, "7 of 2"),
        ({"type": "obj_frame_locate", "red_bbox": [[0, 0, 1, 1]]}, "bbox_img_idx must be"),
        ({"type": "distance_infer_center_oo_video", "point_img_idx": [[0]]}, "needs point_list"),
    ],
)
def test_a_faulty_mark_is_the_records_fault(info: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        marks_of(json.dumps(info), 2)


def write_records(path: Path, count: int) -> Path:
    turns = [{"from": "human", "value": "<image>\nHow far?"}, {"from": "gpt", "value": "2 m"}]
    records = [{"id": str(i), "conversations": turns, "images": ["a.jpg"]} for i in range(count)]
    text = json.dumps(records) if path.suffix == ".json" else "\n".join(map(json.dumps, records))
    path.write_text(text)
    return path


@pytest.mark.parametrize("end", [".jsonl", ".json"])
def test_the_share_is_that_of_random_sample(end: str, tmp_path: Path) -> None:
    path = write_records(tmp_path / f"records{end}", 200)
    drawn = draw_records("spar", path, 0.03, random.Random(0))
    random.seed(0)
    wanted = random.sample(list(range(200)), int(200 * 0.03))
    assert [record.id for record in drawn.good] == [f"spar_{i:07d}" for i in sorted(wanted)]
    assert drawn.total == 200 and {r.question for r in drawn.good} == {"How far?"}


@pytest.mark.parametrize("content", ["", "\n \n", "[]", "{", '{"a": 1}'])
def test_a_file_without_records_is_refused(content: str, tmp_path: Path) -> None:
    for end in (".jsonl", ".json", ".parquet"):
        path = tmp_path / f"records{end}"
        path.write_text(content)
        if end == ".jsonl" and content.strip():
            assert draw_records("spar", path, 1, random.Random(0)).bad
            continue
        with pytest.raises(AnnotationError):
            draw_records("spar", path, 1, random.Random(0))


@pytest.mark.parametrize("name", ["../x.jpg", "/etc/passwd", "a/../../b", "", "a\0b"])
def test_no_record_leads_out_of_its_media(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="leads out of its folder"):
        inside(tmp_path, name)


def test_records_are_scenes_with_their_own_images(tmp_path: Path) -> None:
    settings = tiny_scenes("videos", tmp_path)
    assert isinstance(settings, VideosConfig)
    written = tmp_path / "written"
    written.mkdir()
    settings.write(written, "student", lambda *_: None)
    source = settings.open(written)
    frames = {name: len(source.load(name).frame_names) for name in source.scenes("train")}
    hound = [count for name, count in frames.items() if name.startswith("llava_hound")]
    # 3, 7, 11, 15, 19 ... frames: half of them, from 4 to 8; of 3 there are no more than 3.
    assert hound == [3, 4, 6, 8, 8, 8, 8, 8]
    views = {name: count for name, count in frames.items() if name.startswith("spar")}
    assert set(views.values()) <= {1, 2, 3}
    one = next(name for name in views if views[name] < 3)
    assert tuple(source.load(one).images[0][55, 64]) == (255, 0, 0), "the red point is painted"


@pytest.mark.parametrize("seed", [0, 5])
def test_one_seed_draws_spar_first_and_then_llava_hound(seed: int, tmp_path: Path) -> None:
    """As VG-LLM, whose sets share the state of one generator."""
    settings = tiny_scenes("videos", tmp_path)
    assert isinstance(settings, VideosConfig) and settings.llava_hound is not None
    half = settings.llava_hound.model_copy(update={"share": 0.5})
    written = tmp_path / "written"
    written.mkdir()
    chosen = settings.model_copy(update={"seed": seed, "llava_hound": half})
    chosen.write(written, "student", lambda *_: None)
    chance = random.Random(seed)
    spar = chance.sample(range(SPAR_RECORDS), int(SPAR_RECORDS * 0.03))
    hound = chance.sample(range(HOUND_RECORDS), HOUND_RECORDS // 2)
    wanted = {f"spar_{at:07d}" for at in spar} | {f"llava_hound_{at:07d}" for at in hound}
    assert set(chosen.open(written).scenes("train")) == wanted


def test_an_image_that_is_missing_is_its_records_fault(tmp_path: Path) -> None:
    settings = tiny_scenes("videos", tmp_path)
    written = tmp_path / "written"
    written.mkdir()
    settings.write(written, "student", lambda *_: None)
    (tmp_path / "vg_llm/media/spar/scannet/images/scene0000_00/image_color/0.jpg").unlink()
    source = settings.reader().open(written)
    scene_id = source.scenes("train")[-1]
    with pytest.raises(SceneError, match=rf"scene {scene_id}: .*0\.jpg|image cannot be"):
        source.load(scene_id)
