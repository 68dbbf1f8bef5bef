"""`workflows probe`: correspondence scores of a model on posed RGB-D scenes."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from threedrs_components.students.places import BeforeLayers, Place
from threedrs_workflows.cli.output import columns, emit, say
from threedrs_workflows.cli.scene_arguments import (
    add_bad_scene_argument,
    add_scenes_argument,
    positive_number,
    skipped_json,
)

if TYPE_CHECKING:
    from threedrs_components.probing.correspondence import CorrespondenceScore
    from threedrs_workflows.folders.probing import ProbeOutcome, ProbeRequest

SUMMARY = "score how alike a model's features of one place are across views"

EXAMPLES = """\
examples:
  workflows probe --scenes redkitchen --picture matches.png
  workflows probe --scenes scannet/posed_images --model vggt --checkpoint vggt_1b.safetensors
  workflows probe --scenes rooms --model llava_video --checkpoint student --level token --json

A score is the mean cosine of features of one place in two frames; it is near 1 for a model whose
features are all alike, too, so read the margin beside it: the score less that of unrelated places.
Scenes whose poses, depth and views contradict each other are bad scenes; where the pictures are
those of other frames, that is said behind the table.
"""

COLUMNS = ("score", "margin", "standardised", "pairs", "voxels", "frames", "tokens", "seconds")


COUNTED = {
    "pixel": "pairs: of pixels of the depth images as they are; `workflows prepare` counts those "
    "of the frames that a student reads",
    "token": "pairs: of tokens, each at its mean coordinate; level pixel, and `workflows prepare`, "
    "count pixels",
}
"""What a pair is, by level: two verbs count other things by this name."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    add_scenes_argument(parser)
    parser.add_argument(
        "--model",
        default="rgb",
        metavar="KIND",
        help="rgb (mean colour of each cell, no weights), or the kind of a teacher or a student",
    )
    parser.add_argument("--checkpoint", metavar="PATH", help="weights of the teacher or student")
    parser.add_argument(
        "--layer",
        type=_place,
        metavar="N",
        default=-1,
        help="hidden layer; -1 is the last; of a student also tower or projector",
    )
    parser.add_argument(
        "--level",
        choices=("pixel", "token"),
        default="pixel",
        help="match every pixel (the paper), or each token at its mean coordinate (the release)",
    )
    parser.add_argument(
        "--grid",
        type=_positive_integer,
        metavar="N",
        help="token rows and columns per frame; 14, or the model's own if coarser",
    )
    parser.add_argument(
        "--voxel", type=positive_number, default=0.1, metavar="METRES", help="voxel edge"
    )
    parser.add_argument(
        "--frames", type=_positive_integer, default=32, metavar="N", help="frames per scene"
    )
    add_bad_scene_argument(parser, "count it")
    parser.add_argument(
        "--picture",
        type=Path,
        metavar="OUT.png",
        help="draw two frames of the first scene with correspondences",
    )


def run(args: argparse.Namespace) -> int:
    """Probe, then print a table or one JSON object."""
    # Brings torch, which --help must not wait for.
    from threedrs_workflows.folders.probing import ProbeRequest, probe_scenes

    request = ProbeRequest(
        scenes=args.scenes,
        model=args.model,
        checkpoint=args.checkpoint,
        layer=args.layer,
        level=args.level,
        grid=args.grid,
        voxel_m=args.voxel,
        frames=args.frames,
        on_bad_scene=args.on_bad_scene,
        min_frames=args.min_frames,
        depth_scale=args.depth_scale,
        picture=args.picture,
    )
    outcome = probe_scenes(request, lambda line: say(args, line))
    content = as_content(request, outcome)
    emit(args, content, as_table(content))
    return 0


def _doubts(content: dict[str, Any]) -> list[str]:
    """Behind the table, where nobody misses them."""
    doubts = content["doubts"]
    if not doubts:
        return []
    head = f"! {len(doubts)} of {len(content['scenes'])} scenes: do not read their scores"
    return ["", head, *(f"  {scene}: {doubt}" for scene, doubt in doubts.items())]


def as_content(request: ProbeRequest, outcome: ProbeOutcome) -> dict[str, Any]:
    """All results, JSON-ready; a score over no pairs is null."""
    from threedrs_components.probing.scene_probe import total_probe

    total = total_probe(outcome.probes)
    return {
        "model": request.model,
        "checkpoint": request.checkpoint,
        "level": request.level,
        "grid": outcome.probes[0].grid,
        "voxel_m": request.voxel_m,
        "scenes": [
            {"scene": probe.scene, **_score_json(probe.score), "seconds": round(probe.seconds, 3)}
            for probe in outcome.probes
        ],
        "total": {
            "scenes": total.scenes,
            "scenes_with_pairs": total.scenes_with_pairs,
            **_score_json(total.score),
            "seconds": round(total.seconds, 3),
        },
        "doubts": outcome.doubts,
        "skipped": skipped_json(outcome.skipped),
    }


def as_table(content: dict[str, Any]) -> str:
    """One line per scene; below several, means of the scores and sums of the counts."""
    rows: list[tuple[str, ...]] = [("scene", *COLUMNS)]
    rows += [_row(scene["scene"], scene) for scene in content["scenes"]]
    if len(content["scenes"]) > 1:
        rows.append(_row("mean or sum", content["total"]))
    return "\n".join([columns(rows, indent=""), COUNTED[content["level"]], *_doubts(content)])


def _row(title: str, values: dict[str, Any]) -> tuple[str, ...]:
    return (title, *(_cell(values[name]) for name in COLUMNS))


def _score_json(score: CorrespondenceScore) -> dict[str, float | int | None]:
    return {
        name: None if isinstance(value, float) and math.isnan(value) else value
        for name, value in vars(score).items()
    }


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _place(text: str) -> Place:
    if text in get_args(BeforeLayers):
        return cast(BeforeLayers, text)
    try:
        return int(text)
    except ValueError:
        message = f"{text!r} is no layer: a whole number, or tower or projector of a student"
        raise argparse.ArgumentTypeError(message) from None


def _positive_integer(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number above 0")
    return int(text)
