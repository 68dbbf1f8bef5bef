"""Turn a ScanNet v2 download into what the paper's grids read.

From scans/<scene>/<scene>.sens, _vh_clean_2.ply, .segs.json, .aggregation.json and .txt come posed
images, lists of frames, boxes of objects and Mask3D's candidate boxes, where the presets look for
them. Each scene is written whole or not at all; one that cannot be used is named with its reason.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threedrs_workflows.cli.output import columns, duration, emit, say
from threedrs_workflows.cli.scene_arguments import add_bad_scene_argument

if TYPE_CHECKING:
    from threedrs_workflows.folders.scannet_download import Conversion, DownloadRequest, Outcome

SOME_BAD = 3

EXAMPLES = """\
examples:
  workflows prepare scannet --root /datasets/scannet --out data
  workflows prepare scannet --root /datasets/scannet --out data --workers 16 \\
      --infos embodiedscan_infos_train.pkl embodiedscan_infos_val.pkl --proposals mask
  workflows prepare scannet --root /datasets/scannet --out data --scenes scene0000_00 more.txt
  DATA=data workflows submit workflows/grids/table4.yaml

The download is asked for at www.scan-net.org and comes as scans/<scene>/... and scans_test/.
Put scannetv2_train.txt and scannetv2_val.txt of ScanNet's repository (Tasks/Benchmark) into its
root, and scannetv2-labels.combined.tsv, or name the lists with --splits.

Frames: every tenth of the stream is written, as the released script does, colour as it is stored
(that script encodes it again: --jpeg reencode). EmbodiedScan's infos say which of them a student
sees; without infos those with a pose. Boxes are those of the released script, by the object's id in
the annotation: scenes in which an object has lost all its vertices, which the released file leaves
out, are kept as {id: box}.

The same command goes on after a crash: finished scenes are kept unless settings or inputs changed.
Streams may be deleted then: a changed annotation or new masks make boxes and proposals anew.
Lists are made from all finished scenes in --out, so scenes can be added later. What was found is in
OUT/scannet/preparation.json.

exit codes: 0 all scenes are there, 2 nothing usable or a flag is wrong, 3 some scenes are bad.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument("--root", type=Path, required=True, metavar="DIR", help="the download")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="DATA of the grids' presets"
    )
    parser.add_argument(
        "--scenes",
        nargs="+",
        metavar="ID|FILE",
        help="scene ids, or files that list them; default: all that are downloaded",
    )
    parser.add_argument(
        "--splits",
        nargs="+",
        type=Path,
        default=[],
        metavar="FILE",
        help="lists of scenes whose names end in _train, _val, _test; default: found in --root",
    )
    parser.add_argument(
        "--infos",
        nargs="+",
        type=Path,
        default=[],
        metavar="PKL",
        help="EmbodiedScan's infos; default: frames with a pose are listed",
    )
    parser.add_argument(
        "--proposals",
        type=Path,
        metavar="DIR",
        help="Mask3D's <scene>.mask.npz or <scene>.txt; default: mask/ of --root",
    )
    parser.add_argument(
        "--max-proposals", type=int, default=50, metavar="N", help="masks read per scene"
    )
    parser.add_argument(
        "--frame-step", type=int, default=10, metavar="N", help="write every so many frames"
    )
    parser.add_argument(
        "--jpeg",
        choices=("stored", "reencode"),
        default="stored",
        help="colour as stored, or encoded again as the released script does",
    )
    parser.add_argument(
        "--workers",
        type=int,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="scenes at a time; default: CPUs of this machine. --ray ADDRESS: as it has CPUs",
    )
    add_bad_scene_argument(parser)
    parser.set_defaults(on_bad_scene="skip")


def run(args: argparse.Namespace) -> int:
    """Convert, then say what there is."""
    from threedrs_workflows.folders.scannet_download import convert_download

    result = convert_download(_request(args), _progress(args))
    content = as_content(args.out, result)
    emit(args, content, as_text(content))
    return SOME_BAD if result.bad else 0


def as_content(out: Path, result: Conversion) -> dict[str, Any]:
    """What was done, JSON-ready."""
    from threedrs_components.scenes.scannet_download.lists import REPORT
    from threedrs_workflows.folders.scannet_download import figures

    scenes = sorted((*result.made, *result.kept), key=lambda scene: scene.scene)
    return {
        "out": str(out),
        "report": str(out / REPORT),
        "made": len(result.made),
        "kept": len(result.kept),
        "others": result.others,
        "others_of_other_settings": result.foreign,
        "not_downloaded": result.absent,
        "has_label_table": result.has_labels,
        "scenes": {scene.scene: figures(scene) for scene in scenes},
        "bad": result.bad,
        "files": list(result.files),
    }


def as_text(content: dict[str, Any]) -> str:
    """Totals for people, then what deserves a look."""
    scenes = content["scenes"]
    names = ("frames", "without_pose", "listed", "objects", "vanished", "unknown_labels")
    rows = [["split", "scenes", *(name.replace("_", " ") for name in (*names, "proposals"))]]
    for split in sorted({each["split"] for each in scenes.values()}):
        those = [each for each in scenes.values() if each["split"] == split]
        sums = [sum(each[name] or 0 for each in those) for name in (*names, "proposals")]
        rows.append([split, *map(str, [len(those), *sums])])
    lines = [columns(rows, indent=""), *_remarks(content)]
    lines += [f"bad {scene}: {why}" for scene, why in content["bad"].items()]
    counted = f"{content['made']} made, {content['kept']} kept, {len(content['bad'])} bad"
    return "\n".join([*lines, f"{counted}; {content['report']} has the figures of each scene"])


def _remarks(content: dict[str, Any]) -> list[str]:
    remarked: dict[str, list[str]] = {}
    for name, each in content["scenes"].items():
        for text in each["remarks"]:
            remarked.setdefault(text, []).append(name)
    lines = [
        f"look at {names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {text}"
        for text, names in remarked.items()
    ]
    if content["others_of_other_settings"]:
        number = content["others_of_other_settings"]
        lines.append(
            f"{number} other scenes there were made with other settings, and stay in lists"
        )
    if content["not_downloaded"]:
        lines.append(f"{content['not_downloaded']} scenes of the split lists are not downloaded")
    if not content["has_label_table"]:
        lines.append("no scannetv2-labels.combined.tsv was found: labels are unchecked")
    return lines


def _progress(args: argparse.Namespace) -> Callable[[int, int, Outcome], None]:
    """A line per scene, with the rate so far."""
    began, fresh = time.monotonic(), 0

    def told(done: int, total: int, outcome: Outcome) -> None:
        nonlocal fresh
        fresh += 1
        scene = outcome.scene
        what = f"bad: {outcome.reason}"
        if scene is not None:
            what = f"{scene.frames} frames, {len(scene.boxes)} objects, {duration(scene.seconds)}"
        rate = fresh / max(time.monotonic() - began, 1e-3) * 60
        say(args, f"{done}/{total} {outcome.scene_id}: {what} ({rate:.3g} scenes a minute)")

    return told


def _request(args: argparse.Namespace) -> DownloadRequest:
    """What is asked for; a value out of range is a fault of its flag."""
    from pydantic import ValidationError

    from threedrs_components.scenes.scannet_download.scene_record import ConversionConfig
    from threedrs_platform.errors import ConfigError, Fault
    from threedrs_workflows.folders.scannet_download import DownloadRequest

    if args.workers < 1:
        raise ConfigError([Fault("must be 1 or more", path="--workers")])
    try:
        config = ConversionConfig(
            frame_step=args.frame_step, jpeg=args.jpeg, max_proposals=args.max_proposals
        )
    except ValidationError as error:
        raise ConfigError(
            [
                Fault(fault["msg"], path="--" + str(fault["loc"][0]).replace("_", "-"))
                for fault in error.errors()
            ]
        ) from error
    return DownloadRequest(
        root=args.root,
        data=args.out,
        scenes=None if args.scenes is None else _scene_ids(args.scenes),
        splits=tuple(args.splits),
        infos=tuple(args.infos),
        proposals=args.proposals,
        config=config,
        workers=args.workers,
        ray=None if args.ray in (None, "none") else args.ray,
        stop_at_bad_scene=args.on_bad_scene == "refuse",
    )


def _scene_ids(words: Sequence[str]) -> tuple[str, ...]:
    """Ids as given; those of a file where a word is one's name."""
    from threedrs_platform.errors import DataError

    found: list[str] = []
    for word in words:
        try:
            found += Path(word).read_text().split() if Path(word).is_file() else [word]
        except (OSError, ValueError) as error:
            raise DataError(f"{word}: cannot be read: {error}") from error
    return tuple(found)
