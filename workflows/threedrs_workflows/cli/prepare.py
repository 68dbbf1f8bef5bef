"""`workflows prepare`: reduce posed RGB-D scenes to what a student reads."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threedrs_workflows.cli.output import columns, emit
from threedrs_workflows.cli.scene_arguments import (
    add_bad_scene_argument,
    add_frames_arguments,
    add_scenes_argument,
    candidates_of,
    progress_of,
    skipped_json,
    skipped_lines,
)

if TYPE_CHECKING:
    from threedrs_workflows.folders.preparation import Preparation

SUMMARY = "check scenes and reduce them to frames, token coordinates and correspondences"

KINDS = {"scannet": "prepare_scannet", "question-images": "prepare_question_images"}
"""`workflows prepare WORD ...` is a verb of its own, in this module."""

EXAMPLES = """\
examples:
  workflows prepare --scenes scannet/posed_images --out prepared --on-bad-scene skip
  workflows prepare --scenes room --out prepared --grid 4 --image-size 64 --frames 8 --json
  workflows prepare --scenes room --out prepared --frames 16 --sampling coverage --candidates 200
  workflows prepare scannet --help      a ScanNet download becomes such scenes, boxes and lists
  workflows prepare question-images --help    images of MindCube, BLINK and others become clips

Scenes that the output folder holds already are kept if they were made of the same files with the
same settings, and made again if not; so the same command goes on after a crash. What was left out,
what the frames see of the room, and what the cross-checks of poses, cameras, depth and boxes found,
stands in OUT/preparation.json.
"""


COUNTED = (
    "pairs: of pixels of the frames as a student reads them (resized, see --image-size); "
    "`workflows probe` counts those of the depth images as they are"
)
"""What a pair is: two verbs count other things by this name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    add_scenes_argument(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="one file per scene")
    add_frames_arguments(parser)
    parser.add_argument(
        "--grid", type=int, default=14, metavar="N", help="token rows and columns per frame"
    )
    parser.add_argument(
        "--image-size", type=int, default=384, metavar="N", help="side of the student's input"
    )
    parser.add_argument(
        "--covered",
        type=int,
        metavar="PIXELS",
        help="side of what whole patches cover of it, 378 of 384 with patches of 14; default all",
    )
    parser.add_argument(
        "--proposals",
        type=Path,
        metavar="FILE",
        help='candidate boxes, {"scannet/SCENE": [[x, y, z, dx, dy, dz], ...]}',
    )
    parser.add_argument(
        "--checks",
        choices=("refuse", "tell", "skip"),
        default="refuse",
        help="what a scene that contradicts itself is: a bad scene, only told, or not looked for",
    )
    add_bad_scene_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Prepare, then say what each scene holds."""
    # Brings torch, which --help must not wait for.
    from threedrs_components.scenes.rgbd_folder import RGBDFolder
    from threedrs_workflows.folders.preparation import prepare_folder

    config, progress = _config(args), progress_of(args)
    source = RGBDFolder(args.scenes, candidates_of(args), args.min_frames, args.depth_scale)
    outcome = prepare_folder(source, args.out, config, args.proposals, progress)
    content = as_content(args.out, outcome)
    emit(args, content, as_text(content))
    return 0


def as_content(out: Path, outcome: Preparation) -> dict[str, Any]:
    """What was done, JSON-ready."""
    return {
        "out": str(out),
        "scenes": [vars(scene) for scene in outcome.scenes],
        "remade": list(outcome.remade),
        "checks": outcome.checks,
        "coverage": outcome.coverage,
        "warnings": list(outcome.warnings),
        "skipped": skipped_json(outcome.skipped),
    }


def as_text(content: dict[str, Any]) -> str:
    """A line per scene; the columns are the fields of `PreparedSummary`."""
    scenes = content["scenes"]
    rows = [[name.replace("_", " ") for name in scenes[0]], *([*each.values()] for each in scenes)]
    lines = [columns(rows, indent=""), COUNTED, *_check_lines(content["checks"])]
    lines += _coverage_lines(content["coverage"])
    if content["remade"]:
        lines.append(f"made again, of other files or settings: {', '.join(content['remade'])}")
    return "\n".join([*lines, *content["warnings"], *skipped_lines(content)])


def _check_lines(checks: dict[str, Any]) -> list[str]:
    """A line per cross-check: its range over all scenes."""
    rows = [
        [f"check: {name}", f"{ends['lowest']:.3g} to {ends['highest']:.3g}"]
        for name, ends in checks.items()
    ]
    return [columns(rows, indent="")] if rows else []


def _coverage_lines(coverage: dict[str, Any]) -> list[str]:
    """What share of the voxels that all candidates see the frames see, over all scenes."""
    named = {"chosen": "voxels seen by the frames", "uniform": "as many, evenly spread"}
    rows = [
        [named[frames], f"{ends['mean']:.1%} on average, {ends['lowest']:.1%} at least"]
        for frames, ends in coverage.items()
    ]
    return [columns(rows, indent="")] if rows else []


def _config(args: argparse.Namespace) -> Any:
    """The preparation asked for; a value out of range is a fault of its flag."""
    from pydantic import ValidationError

    from threedrs_components.scenes.prepare_config import ChecksConfig, PrepareConfig
    from threedrs_platform.errors import ConfigError, Fault

    try:
        return PrepareConfig(
            image_size=args.image_size,
            covered=args.covered,
            grid=args.grid,
            voxel_m=args.voxel,
            num_frames=args.frames,
            sampling=args.sampling,
            on_bad_scene=args.on_bad_scene,
            checks=ChecksConfig(mode=args.checks),
        )
    except ValidationError as error:
        flags = {"num_frames": "frames", "voxel_m": "voxel", "image_size": "image-size"}
        names = [str(next(iter(fault["loc"]), "covered")) for fault in error.errors()]
        faults = [
            Fault(fault["msg"], path=f"--{flags.get(name, name)}")
            for name, fault in zip(names, error.errors(), strict=True)
        ]
        raise ConfigError(faults) from error
