"""`workflows extract`: store a teacher's features of posed RGB-D scenes."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threedrs_platform.config.strict_yaml import plain_value
from threedrs_platform.errors import ConfigError, Fault
from threedrs_workflows.cli.output import emit
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
    from threedrs_components.teachers.extraction import Extraction
    from threedrs_workflows.folders.extraction import ExtractionRequest

SUMMARY = "store a teacher's features of scenes, one Arrow file per scene"

EXAMPLES = """\
examples:
  workflows extract --scenes scannet/posed_images --teacher vggt --checkpoint model.safetensors \\
    --licence "CC BY-NC 4.0" --out features/vggt
  workflows extract --scenes rooms --teacher mae --checkpoint vit-mae-large --out features/mae
  workflows extract --scenes rooms --teacher flare --checkpoint geometry_pose.pth \\
    --set stage=2 --set frames_per_pass=8 --out features/flare

Scenes that the output folder holds already are kept, so the same command goes on after a crash.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    add_scenes_argument(parser)
    parser.add_argument("--teacher", required=True, metavar="KIND", help="vggt, mae, dinov2, ...")
    parser.add_argument("--checkpoint", metavar="PATH", help="the teacher's weights")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="for the features")
    parser.add_argument(
        "--grid",
        type=int,
        metavar="N",
        help="token rows and columns per frame; 14, or the teacher's own if coarser",
    )
    parser.add_argument(
        "--layer", type=int, metavar="N", help="block to read; default: -1, the last"
    )
    add_frames_arguments(parser)
    parser.add_argument("--licence", metavar="TEXT", help="terms of the weights, kept")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="another field of the teacher's configuration, e.g. framing=squash; repeatable",
    )
    parser.add_argument("--device", metavar="NAME", help="default: an accelerator, else the cpu")
    add_bad_scene_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Extract, then say what was done."""
    # Brings torch, which --help must not wait for.
    from threedrs_workflows.folders.extraction import ExtractionRequest, extract_folder

    request = ExtractionRequest(
        scenes=args.scenes,
        teacher=args.teacher,
        checkpoint=args.checkpoint,
        out=args.out,
        grid=args.grid,
        options=teacher_options(args),
        frames=args.frames,
        candidates=candidates_of(args),
        coverage_voxel_m=args.voxel if args.sampling == "coverage" else None,
        device=args.device,
        on_bad_scene=args.on_bad_scene,
        min_frames=args.min_frames,
        depth_scale=args.depth_scale,
        workspace=args.workspace,
        database=args.db,
    )

    outcome = extract_folder(request, progress_of(args))
    content = as_content(request, outcome)
    emit(args, content, as_text(content))
    return 0


def teacher_options(args: argparse.Namespace) -> dict[str, Any]:
    """Fields of the teacher's configuration that flags name.

    Raises:
        ConfigError: a `--set` without a name or a value.
    """
    faults = [
        Fault(f"{each!r} is no FIELD=VALUE, e.g. framing=squash", "--set")
        for each in args.set
        if not all(each.partition("="))
    ]
    if faults:
        raise ConfigError(faults)
    named = {"layer": args.layer, "licence": args.licence}
    given = {name: value for name, value in named.items() if value is not None}
    pairs = (each.partition("=") for each in args.set)
    return given | {name: plain_value(value) for name, _, value in pairs}


def as_content(request: ExtractionRequest, outcome: Extraction) -> dict[str, Any]:
    """What was done, JSON-ready."""
    return {
        "teacher": request.teacher,
        "out": str(request.out),
        "written": list(outcome.written),
        "kept": list(outcome.kept),
        "skipped": skipped_json(outcome.skipped),
        "cut": outcome.cut,
        "damaged": list(outcome.damaged),
    }


def as_text(content: dict[str, Any]) -> str:
    """The same in one line per fact."""
    done = (
        f"{len(content['written'])} scenes written to {content['out']}, "
        f"{len(content['kept'])} were there already"
    )
    cut = [
        f"{scene}: framing cuts {lost:.0%} of its frames" for scene, lost in content["cut"].items()
    ]
    return "\n".join([done, *content["damaged"], *cut, *skipped_lines(content)])
