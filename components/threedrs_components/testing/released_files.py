"""The folder DATA of the paper's grids, each file in its real format, all of it tiny and random."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.write import write_world
from threedrs_components.testing import student_checkpoints
from threedrs_components.testing.released_checkpoints import Method, publish_released
from threedrs_components.testing.scannet_download import write_world_as_download
from threedrs_components.testing.scannet_files import write_scannet
from threedrs_components.testing.teacher_checkpoints import RELEASED_VIEWS, write_tiny_checkpoint

STUDENTS = {
    "internvl/OpenGVLab": "InternVL3-8B",
    "internvl/hf": "InternVL3_5-8B-HF",
    "llava_video/lmms-lab": "LLaVA-Video-7B-Qwen2",
    "llava_onevision/lmms-lab": "llava-onevision-qwen2-7b-ov",
    "qwen2_vl/Qwen": "Qwen2-VL-7B-Instruct",
    "qwen3_vl/Qwen": "Qwen3-VL-8B-Instruct",
}
"""Layout of a checkpoint -> where the presets look for it."""
PUBLISHED: dict[Method, str] = {
    "3DRS": "3DRS",
    "Video-3D LLM": "Video3D-LLM-LLaVA-Qwen-Uniform-32",
}
"""Method -> where the presets look for the weights that its released code saved."""
TEACHERS = {
    "vggt": "VGGT-1B",
    "flare": "FLARE",
    "pi3": "Pi3",
    "da3": "DA3-LARGE-1.1",
    "dinov2": "dinov2-large",
    "dinov2_reg": "dinov2-with-registers-large",
    "dinov3": "dinov3-vitl16-pretrain-lvd1689m",
    "mae": "vit-mae-large",
    "siglip2": "siglip2-so400m-patch14-224",
}
"""Kind -> the folder where the presets look for its checkpoint."""
STREAM_FRAMES = 31
"""Of a download: every tenth is used, and one of those has no pose."""
LABELS = ("cabinet", "bed", "chair", "sofa", "table", "door", "lamp")


def write_data(
    data: Path,
    *,
    train: int = 3,
    val: int = 2,
    teachers: Iterable[str] = ("vggt",),
    download: Path | None = None,
) -> None:
    """Write everything that the presets `as_released` and `clean` read.

    Args:
        data: gets the files; what DATA is to name.
        train: scenes to train on.
        val: scenes to evaluate.
        teachers: kinds that get a checkpoint.
        download: gets the scenes as ScanNet's download, where `workflows prepare scannet` finds
            them; DATA then lacks images, lists of frames, boxes and proposals.
    """
    world = data / "world"
    world.mkdir(parents=True)
    frames = 3 if download is None else STREAM_FRAMES
    config = MicroWorldConfig(train=train, text=train, val=val, num_frames=frames, teacher_scenes=1)
    write_world(config, world, "student")
    (world / "annotations").rename(data / "annotations")
    (data / "metadata").mkdir()
    if download is not None:
        write_world_as_download(world, download)
    else:
        (world / "proposals/val.json").rename(data / "metadata/scannet_val_pred_box.json")
        write_scannet(world, data)
    _write_sqa3d(data / "annotations")
    _write_label_map(data / "metadata/scannetv2-labels.combined.tsv")
    write_models(data, teachers)


def write_models(data: Path, teachers: Iterable[str] = ("vggt",)) -> None:
    """Write tiny checkpoints of students and teachers where the presets look for them."""
    with _pixels_of_the_real_towers():
        for layout, name in STUDENTS.items():
            student_checkpoints.publish(layout, data / "models" / name)
        for method, name in PUBLISHED.items():
            publish_released(method, data / "models" / name)
    for kind in teachers:
        write_tiny_checkpoint(kind, data / "models" / TEACHERS[kind], view=RELEASED_VIEWS[kind])


@contextmanager
def _pixels_of_the_real_towers() -> Iterator[None]:
    """Patches of 14 or 16, of 384 pixels where SigLIP reads them: the presets' grids follow."""
    real = (
        (student_checkpoints.INTERNVL_VISION, {"image_size": 448, "patch_size": 14}),
        (student_checkpoints.VISION, {"image_size": 384, "patch_size": 14}),
        (student_checkpoints.QWEN_VISION, {"patch_size": 14}),
        (student_checkpoints.QWEN3_VISION, {"patch_size": 16}),
    )
    before = [dict(tower) for tower, _ in real]
    for tower, sizes in real:
        tower.update(sizes)
    try:
        yield
    finally:
        for (tower, _), sizes in zip(real, before, strict=True):
            tower.update(sizes)


def _write_sqa3d(folder: Path) -> None:
    """The questions of ScanQA, asked by somebody who stands somewhere."""
    for split, of in (("train", "train"), ("test", "val")):
        source = json.loads((folder / f"ScanQA_v1.0_{of}.json").read_text())
        questions: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for number, record in enumerate(source):
            who = {"question_id": number, "scene_id": record["scene_id"]}
            questions.append({**who, "situation": "I stand here.", "question": record["question"]})
            answers = [{"answer": answer} for answer in record["answers"]]
            annotations.append({**who, "answers": answers})
        for name, content in (
            (f"v1_balanced_questions_{split}", {"questions": questions}),
            (f"v1_balanced_sqa_annotations_{split}", {"annotations": annotations}),
        ):
            (folder / f"{name}_scannetv2.json").write_text(json.dumps(content))


def _write_label_map(path: Path) -> None:
    rows = [f"{name}\t{number}\t{name}" for number, name in enumerate(LABELS, 3)]
    path.write_text("\n".join(("raw_category\tnyu40id\tnyu40class", *rows)) + "\n")
