"""What the verbs over a folder of scenes share: flags, progress, and the report of bad scenes."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from threedrs_platform.errors import ConfigError, Fault
from threedrs_workflows.cli.output import say

MILLIMETRES, MIN_FRAMES = 1000.0, 8
"""Defaults of `RGBDFolderConfig`, whose module brings numpy, which --help must not wait for."""


def add_scenes_argument(parser: argparse.ArgumentParser) -> None:
    """--scenes."""
    parser.add_argument(
        "--scenes",
        type=Path,
        required=True,
        metavar="DIR",
        help="a posed RGB-D scene folder (file names of 7-Scenes, ScanNet or SensReader), or a "
        "folder of them",
    )
    add_frame_limits(parser)


def add_frame_limits(parser: argparse.ArgumentParser) -> None:
    """--depth-scale and --min-frames, of folders of posed RGB-D frames."""
    parser.add_argument(
        "--depth-scale",
        type=positive_number,
        default=MILLIMETRES,
        metavar="UNITS",
        help="units of whole-number depth images per metre: e.g. 4000 or 5000; default: 1000",
    )
    parser.add_argument(
        "--min-frames",
        type=positive_count,
        default=MIN_FRAMES,
        metavar="N",
        help=f"frames that must be left of a scene that lost bad ones; default: {MIN_FRAMES}",
    )


def add_frames_arguments(parser: argparse.ArgumentParser) -> None:
    """--frames, and how they are chosen; `candidates_of` says out of how many."""
    parser.add_argument("--frames", type=int, default=32, metavar="N", help="frames per scene")
    parser.add_argument(
        "--sampling",
        choices=("uniform", "coverage"),
        default="uniform",
        help="which: evenly spread ones, or those that together see most voxels",
    )
    parser.add_argument(
        "--candidates",
        type=positive_count,
        metavar="N",
        help="frames to choose from, evenly spread; default: with coverage all, else --frames",
    )
    parser.add_argument("--voxel", type=float, default=0.1, metavar="METRES", help="voxel edge")


def candidates_of(args: argparse.Namespace) -> int | None:
    """How many frames of a scene are read; None is all.

    Raises:
        ConfigError: they are fewer than are kept.
    """
    if args.candidates is None:
        return None if args.sampling == "coverage" else int(args.frames)
    if args.candidates < args.frames:
        complaint = f"{args.candidates} are fewer than the {args.frames} that are kept (--frames)"
        raise ConfigError([Fault(complaint, path="--candidates")])
    return int(args.candidates)


def positive_count(text: str) -> int:
    """A whole number above 0."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)


def positive_number(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def add_bad_scene_argument(parser: argparse.ArgumentParser, told: str = "say so") -> None:
    """--on-bad-scene."""
    parser.add_argument(
        "--on-bad-scene",
        choices=("refuse", "skip"),
        default="refuse",
        help=f"stop at an unusable scene, or leave it out and {told}",
    )


def progress_of(args: argparse.Namespace) -> Callable[[int, int, str], None]:
    """Says how many scenes of how many are done, and the last one."""
    return lambda done, total, note: say(args, f"{done}/{total} {note}")


def skipped_json(skipped: Mapping[str, str]) -> list[dict[str, str]]:
    """Scenes that were left out, JSON-ready."""
    return [{"scene": name, "reason": why} for name, why in skipped.items()]


def skipped_lines(content: Mapping[str, Any]) -> list[str]:
    """The same for people, a line per scene."""
    return [f"skipped {each['scene']}: {each['reason']}" for each in content["skipped"]]
