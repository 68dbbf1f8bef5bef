"""Rendered rooms in the files of ScanNet, for tests and trials."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

DIGITS = 5
"""A micro scene is named after its split and a number of so many digits."""


def write_scannet(world: Path, data: Path) -> None:
    """Write rendered rooms as ScanNet's posed images; the last frame of each has no pose.

    Args:
        world: a micro world on disk.
        data: gets `scannet/posed_images`, `embodiedscan` and `metadata`, as the presets want them.
    """
    for name in ("metadata", "embodiedscan"):
        (data / name).mkdir(exist_ok=True)
    infos: dict[str, list[Any]] = {"train": [], "val": []}
    boxes = {}
    for scene in sorted((world / "scenes").iterdir()):
        folder = data / "scannet/posed_images" / scene.name
        folder.mkdir(parents=True)
        intrinsics = np.loadtxt(scene / "camera-intrinsics.txt")
        for name in ("intrinsic.txt", "depth_intrinsic.txt"):
            np.savetxt(folder / name, intrinsics)
        names = []
        for number, color in enumerate(sorted(scene.glob("*.color.png"))):
            stem, name = color.name.removesuffix(".color.png"), f"{number * 10:05d}"
            Image.open(color).save(folder / f"{name}.jpg")
            (folder / f"{name}.png").write_bytes((scene / f"{stem}.depth.png").read_bytes())
            (folder / f"{name}.txt").write_text((scene / f"{stem}.pose.txt").read_text())
            names.append(name)
        np.savetxt(folder / f"{names[-1]}.txt", np.full((4, 4), -np.inf))
        content = json.loads((scene / "boxes.json").read_text())
        boxes[f"scannet/{scene.name}"] = content["boxes"]
        calibration = np.eye(4)
        calibration[:3, :3] = intrinsics[:3, :3]
        entry = {
            "sample_idx": f"scannet/{scene.name}",
            "images": [{"img_path": f"{scene.name}/{name}.jpg"} for name in names[:-1]],
            "axis_align_matrix": content.get("axis_alignment", np.eye(4).tolist()),
            "depth_cam2img": calibration.tolist(),
        }
        infos[scene.name[:-DIGITS]].append(entry)
    for split, entries in infos.items():
        path = data / f"embodiedscan/embodiedscan_infos_{split}.json"
        path.write_text(json.dumps({"data_list": entries}))
        path.with_suffix(".pkl").write_bytes(pickle.dumps({"data_list": entries}))
    (data / "metadata/scannet_gt_box.json").write_text(json.dumps(boxes))
