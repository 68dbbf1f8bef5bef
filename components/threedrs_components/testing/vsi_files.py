"""The files of table 2, each in its real format, all of them tiny: clips, questions, records.

Nothing here is read by the product: what it reads is written by other hands, with other code.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from threedrs_platform.records import UInt8

CLIPS = {"scannet": "scene0011_00", "scannetpp": "09c1414f1b", "arkitscenes": "41069025"}
"""One scene of each data set of VSI-Bench."""
FRAMES = 5
SPAR_RECORDS, HOUND_RECORDS = 134, 8
"""So many that the presets' shares of them are 4 and 2."""


def write_vsi(data: Path) -> None:
    """Write all that the preset `vsi` reads, but the weights.

    Args:
        data: gets the files; what DATA is to name.
    """
    bench = data / "vsibench"
    for number, (dataset, scene) in enumerate(CLIPS.items()):
        (bench / dataset).mkdir(parents=True)
        write_clip(bench / dataset / f"{scene}.mp4", moving_square(FRAMES + number))
    write_parquet(bench / "test-00000-of-00001.parquet", questions())
    media, train = data / "vg_llm/media", data / "vg_llm/train"
    for folder in (media, train):
        folder.mkdir(parents=True)
    lines = [json.dumps(record) + "\n" for record in spar_records(media)]
    (train / "spar_7m.jsonl").write_text("".join(lines))
    (train / "llava_hound_255k.json").write_text(json.dumps(hound_records(media)))


def moving_square(frames: int, height: int = 48, width: int = 64) -> UInt8:
    """[F, H, W, 3]: frame f is grey of 40 f, with a red square that goes to the right."""
    pixels = np.zeros((frames, height, width, 3), np.uint8)
    for index in range(frames):
        pixels[index] = 40 * index % 256
        pixels[index, 16:32, 8 * index % width : 8 * index % width + 16] = (255, 0, 0)
    return pixels


def write_clip(path: Path, images: Iterable[UInt8]) -> None:
    """A video file; where PyAV is not installed, a folder of images in its place."""
    if find_spec("av") is None:
        folder = path.with_suffix("")
        folder.mkdir()
        for index, image in enumerate(images):
            Image.fromarray(image).save(folder / f"{index:05d}.png")
        return
    import av

    frames = list(images)
    with av.open(str(path), "w") as video:
        stream: Any = video.add_stream("mpeg4", rate=24)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        for image in frames:
            video.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        video.mux(stream.encode())


def write_parquet(path: Path, records: list[dict[str, Any]]) -> None:
    """Records as a Parquet file."""
    from pyarrow import Table, parquet

    parquet.write_table(Table.from_pylist(records), path)


def questions() -> list[dict[str, Any]]:
    """One question of each of VSI-Bench's kinds about each clip."""
    numbers = {
        "object_counting": "3",
        "object_abs_distance": "2.4",
        "object_size_estimation": "120",
        "room_size_estimation": "24.5",
    }
    choices = (
        "object_rel_distance",
        "object_rel_direction_easy",
        "object_rel_direction_medium",
        "object_rel_direction_hard",
        "route_planning",
        "obj_appearance_order",
    )
    found: list[dict[str, Any]] = []
    for dataset, scene in CLIPS.items():
        for kind in (*numbers, *choices):
            found.append(
                {
                    "id": len(found),
                    "dataset": dataset,
                    "scene_name": scene,
                    "question_type": kind,
                    "question": f"A question of {kind}?",
                    "options": None if kind in numbers else ["A. chair", "B. table"],
                    "ground_truth": numbers.get(kind, "B"),
                    "pruned": len(found) % 2 == 0,
                }
            )
    return found


def spar_records(media: Path) -> list[dict[str, Any]]:
    """Records of SPAR-7M as VG-LLM lists them: one, two or three views, with marks and without."""
    names = [f"spar/scannet/images/scene0000_00/image_color/{index}.jpg" for index in range(3)]
    for name, image in zip(names, moving_square(3, 96, 128), strict=True):
        (media / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(media / name)
    marked = (
        (1, {"type": "distance_prediction_oc", "red_point": [[500, 500]]}),
        (2, {"type": "distance_prediction_oo_mv", "red_point": [[500, 600]],
             "blue_point": [[900, 800]], "point_img_idx": [[0, 1]]}),
        (3, {"type": "obj_spatial_relation_oc_mv", "red_bbox": [[400, 400, 600, 600]],
             "bbox_img_idx": [[1]]}),
    )  # fmt: skip
    return [
        {
            "id": f"spar_{index}",
            "conversations": [
                {"from": "human", "value": "<image>\n" * views + f"How far is it ({index})?"},
                {"from": "gpt", "value": f"{index % 7} metres"},
            ],
            "images": names[:views],
            "spar_info": json.dumps(info),
        }
        for index in range(SPAR_RECORDS)
        for views, info in [marked[index % len(marked)]]
    ]


def hound_records(media: Path) -> list[dict[str, Any]]:
    """Records of LLaVA-Hound: videos that are folders of frames."""
    found = []
    for index in range(HOUND_RECORDS):
        name = f"llava_hound/frames/{index:04d}"
        (media / name).mkdir(parents=True)
        for number, image in enumerate(moving_square(3 + 4 * index)):
            Image.fromarray(image).save(media / name / f"c01_{number:04d}.jpeg")
        found.append(
            {
                "id": f"hound_{index}",
                "conversations": [
                    {"from": "human", "value": f"<video>\nWhat moves ({index})?"},
                    {"from": "gpt", "value": "a square"},
                ],
                "data_source": "llava_hound",
                "video": name,
            }
        )
    return found
