"""Scenes per minute of preparation at ScanNet's size, in one process and in two.

    python tests/bench/preparation.py [--scenes 4] [--processes 1 2]

Rooms of 32 frames (1,296 x 968 colour, 640 x 480 depth), 30 objects and 50 proposals each, prepared
as the preset as_released does. Their pictures mean nothing; their sizes are those of ScanNet.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

import numpy as np
from PIL import Image

from threedrs_components.scenes.boxes import write_box_lists, write_scene_boxes
from threedrs_components.scenes.png import write_png
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.rgbd_folder import RGBDFolderConfig
from threedrs_components.scenes.settings import PROPOSALS
from threedrs_platform.config.kinds import choose
from threedrs_platform.processes import spread
from threedrs_platform.records import Boxes
from threedrs_workflows.steps.params.prepare import PrepareParams
from threedrs_workflows.steps.prepare import Preparing

FRAMES = 32
COLOR, DEPTH = (968, 1296), (480, 640)
ROOM, PLACE = (6.0, 5.0, 2.8), (2.8, 2.4, 1.5)
"""Size of the room, and where the camera stands in it, in metres."""
AS_RELEASED = PrepareConfig(
    image_size=384,
    covered=378,
    grid=14,
    patch_grid=27,
    num_frames=FRAMES,
    invalid_depth="camera_centre",
    arithmetic="bfloat16",
)


def main() -> int:
    """Write scenes, prepare them with each number of processes, print scenes per minute."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=4)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        root = Path(passing)
        names = [f"scene{number:04d}_00" for number in range(args.scenes)]
        boxes = {
            name: _write_scene(root / "scenes" / name, seed) for seed, name in enumerate(names)
        }
        (root / PROPOSALS).mkdir()
        write_box_lists(root / PROPOSALS / "boxes.json", boxes)
        scenes = choose(RGBDFolderConfig(root=str(root / "scenes")))
        params = PrepareParams(prepare=AS_RELEASED, scenes=scenes, trained_split="all")
        for processes in args.processes:
            out = root / f"prepared by {processes}"
            out.mkdir()
            began = time.monotonic()
            with closing(spread(Preparing(params, root, out), names, processes)) as prepared:
                faults = [error for _, error in prepared if error is not None]
            minutes = (time.monotonic() - began) / 60
            assert not faults, faults
            print(
                f"{processes} processes: {len(names) / minutes:.1f} scenes per minute", flush=True
            )
    return 0


def _write_scene(folder: Path, seed: int) -> np.ndarray:
    """A camera that turns once inside an empty room; returns its proposals [50, 6]."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: COLOR[0], : COLOR[1]]
    color = np.stack([rows % 256, columns % 256, (rows + columns) % 256], -1).astype(np.uint8)
    v, u = np.mgrid[: DEPTH[0], : DEPTH[1]]
    rays = np.stack([(u - 320) / 577, (v - 240) / 577, np.ones(DEPTH)], -1)
    for frame in range(FRAMES):
        angle = 2 * np.pi * frame / FRAMES
        turned = np.array(
            [[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]]
        )
        pose = np.eye(4)
        pose[:3, :3] = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]]) @ turned
        pose[:3, 3] = PLACE
        directions = rays @ pose[:3, :3].T
        walls = np.where(directions > 0, np.subtract(ROOM, PLACE), np.negative(PLACE))
        parallel = directions == 0
        metres = np.where(parallel, np.inf, walls / np.where(parallel, 1, directions)).min(-1)
        metres += rng.normal(0, 0.005, DEPTH)
        name = f"{frame * 10:05d}"
        Image.fromarray(np.roll(color, frame * 40, 1)).save(folder / f"{name}.jpg", quality=90)
        write_png(folder / f"{name}.png", (metres * 1000).astype(np.uint16))
        np.savetxt(folder / f"{name}.txt", pose)
    np.savetxt(folder / "intrinsic.txt", [[1170, 0, 648], [0, 1170, 484], [0, 0, 1]])
    np.savetxt(folder / "depth_intrinsic.txt", [[577, 0, 320], [0, 577, 240], [0, 0, 1]])
    centres = rng.uniform((0, 0.5, 1.0), (1, 4.5, 2.0), (80, 3))
    centres[:, 0] = np.round(centres[:, 0]) * ROOM[0]  # at one of two walls
    boxes = np.concatenate([centres, rng.uniform(0.3, 1.5, (80, 3))], 1).astype(np.float32)
    write_scene_boxes(folder / "boxes.json", Boxes((*range(30),), ("thing",) * 30, boxes[:30]))
    return boxes[30:]


if __name__ == "__main__":
    sys.exit(main())
