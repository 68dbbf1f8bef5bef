"""`workflows evaluate`: benchmarks for a trained student, without a grid."""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threedrs_components.benchmarks.registry import BENCHMARKS, benchmark_named
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.storage import place_errors
from threedrs_workflows.cli.model_arguments import (
    Named,
    add_model_arguments,
    find_model,
    output_folder,
)
from threedrs_workflows.cli.output import duration, emit, say
from threedrs_workflows.cli.scene_arguments import add_frame_limits, progress_of, skipped_json
from threedrs_workflows.cli.score import as_table

if TYPE_CHECKING:
    from threedrs_components.models.recipe import Recipe
    from threedrs_workflows.models.evaluating import Evaluated, EvaluationRequest
    from threedrs_workflows.models.of_cell import CellSteps
    from threedrs_workflows.models.worlds import World

SUMMARY = "ask a trained student a whole benchmark and score it, without a grid"

EXAMPLES = """\
examples:
  workflows evaluate models/mine --benchmark scanqa --annotations /data/3drs/annotations \\
      --scenes /data/rooms --out evaluated
  workflows evaluate models/3DRS --preset 3drs --benchmark scanrefer --annotations ann \\
      --scenes scannet/posed_images --proposals scannet_val_pred_box.json \\
      --box-file scannet_gt_box.json --label-map scannetv2-labels.combined.tsv
  workflows evaluate teacher=vggt --seed 2 --benchmark scanqa --annotations ann --scenes my_rooms
  workflows evaluate models/VG --preset vsi --benchmark vsibench --annotations VSI-Bench \\
      --split test --scenes VSI-Bench
  workflows evaluate teacher=vggt --benchmark scanqa --annotations ann --out evaluated --scenes \\
      '{kind: rgbd_folder, root: my_rooms, num_frames: 64}'

A folder's frames are prepared, and questions worded and scored, as the preset says; a cell's as its
grid says: over the same scenes the numbers are those of the grid. ScanRefer, Multi3DRefer and
Scan2Cap choose among candidate boxes: --proposals, or proposals/*.json beside the scenes. --out
keeps predictions (`workflows score` reads them) and metrics; the same command goes on where one was
stopped. Values are percent, with 95 % bootstrap intervals over samples.
"""

METRICS_FILE, UNPACKED = "metrics.json", "scannet"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of this verb."""
    add_model_arguments(parser)
    parser.add_argument(
        "--benchmark",
        action="append",
        required=True,
        metavar="NAME",
        help=f"{', '.join(BENCHMARKS)}; may be repeated",
    )
    parser.add_argument(
        "--annotations",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder with the benchmark's own files, see `workflows data NAME`",
    )
    parser.add_argument(
        "--scenes",
        metavar="DIR|SETTINGS",
        help="a folder: posed RGB-D scenes (file names of 7-Scenes, ScanNet or SensReader), videos "
        "as <data set>/<scene>.mp4, a ScanNet download, or what `workflows prepare scannet` made "
        "of one; or the section `scenes` of a grid, as a YAML mapping or file (default: the "
        "scenes of the cell's own run)",
    )
    add_frame_limits(parser)
    # Scenes of another kind have no such limits: what is not given must be told from what is.
    parser.set_defaults(depth_scale=None, min_frames=None)
    parser.add_argument("--split", default="val", help="of the annotations")
    parser.add_argument("--proposals", type=Path, metavar="FILE", help="candidate boxes by scene")
    parser.add_argument(
        "--oracle",
        action="store_true",
        help="choose among true boxes: easier than any published setting",
    )
    parser.add_argument(
        "--box-file", type=Path, metavar="FILE", help="true boxes, where scenes have no boxes.json"
    )
    parser.add_argument("--label-map", type=Path, metavar="TSV", help="ScanNet's label table")
    parser.add_argument(
        "--missing-scenes",
        choices=("refuse", "leave_out"),
        default="refuse",
        help="questions on scenes that are absent or unusable",
    )
    parser.add_argument(
        "--out", type=output_folder, metavar="DIR", help="keep predictions and metrics there"
    )


def run(args: argparse.Namespace) -> int:
    """Evaluate, then print a table per benchmark or one JSON object."""
    names = tuple(dict.fromkeys(args.benchmark))
    for name in names:
        benchmark_named(name)
    if not args.annotations.is_dir():
        raise ConfigError([Fault(f"no folder {str(args.annotations)!r}", "--annotations")])
    with ExitStack() as opened:
        recipe, steps = find_model(Named.of(args), opened)
        say(args, f"{recipe.title}: scenes, prompts and scores as in {recipe.source}")
        for caution in steps.cautions() if steps else ():
            say(args, f"note: {caution}")
        # Brings torch, for which mistakes above need not wait.
        from threedrs_components.models.recipe import open_model, refuse_fused
        from threedrs_workflows.models.evaluating import evaluate, read_questions

        refuse_fused(recipe.folder)
        world = _world(args, recipe, steps, opened)
        request = _request(args, recipe, names, world)
        samples = read_questions(request)
        say(args, f"{sum(map(len, samples.values()))} questions; loading the student ...")
        student = open_model(recipe, args.device)
        started = time.monotonic()
        outcome = evaluate(
            request, samples, student, progress_of(args), lambda line: say(args, line)
        )
        say(args, f"answered in {duration(time.monotonic() - started)}")
    content = as_content(recipe, outcome)
    if args.out is not None:
        _keep(args.out, outcome, content)
        say(args, f"predictions and metrics are in {args.out}")
    for evaluation in outcome.evaluations:
        for told in (*evaluation.warnings, *evaluation.unread):
            say(args, f"{evaluation.benchmark}: {told}")
    emit(args, content, "\n\n".join(map(as_table, outcome.evaluations)))
    return 0


def _request(
    args: argparse.Namespace, recipe: Recipe, names: tuple[str, ...], world: World
) -> EvaluationRequest:
    from threedrs_workflows.models.evaluating import EvaluationRequest, annotation_folder, oracle

    return EvaluationRequest(
        oracle(recipe) if args.oracle else recipe,
        names,
        world,
        annotation_folder(
            args.annotations,
            world,
            box_file=args.box_file,
            label_map=args.label_map,
            oracle=args.oracle,
        ),
        args.split,
        args.proposals,
        args.missing_scenes,
        args.out,
    )


def _world(
    args: argparse.Namespace, recipe: Recipe, steps: CellSteps | None, opened: ExitStack
) -> World:
    """The scenes that are named, or those of the cell's own run.

    Raises:
        ConfigError: none are, a download is to be unpacked and nothing says where to, or limits of
            folders of frames are given for other scenes.
    """
    from threedrs_components.models.of_steps import scene_settings
    from threedrs_workflows.models.worlds import (
        World,
        convert_scans,
        open_world,
        refuse_limits,
        settings_of,
    )

    if args.scenes is None:
        if steps is None:
            message = "name the scenes; only a cell of a run has scenes of its own"
            raise ConfigError([Fault(message, "--scenes")])
        limits = ("min_frames", "depth_scale")
        given = [name for name in limits if getattr(args, name) is not None]
        refuse_limits(given, "what the run made of its own scenes")
        settings, folder = scene_settings(steps), steps.folder("scenes")
        return World(settings, settings.open(folder), folder)
    named = settings_of(
        args.scenes,
        num_frames=recipe.prepare.num_frames,
        min_frames=args.min_frames,
        depth_scale=args.depth_scale,
    )
    if isinstance(named, Path):
        if args.out is None:
            message = "a ScanNet download is unpacked before it is read; say where to"
            raise ConfigError([Fault(message, "--out")])
        named = convert_scans(named, args.split, args.out / UNPACKED, lambda line: say(args, line))
    empty = opened.enter_context(tempfile.TemporaryDirectory(prefix="threedrs-"))
    return open_world(named, Path(empty))


def as_content(recipe: Recipe, outcome: Evaluated) -> dict[str, Any]:
    """All numbers, JSON-ready."""
    return {
        "model": recipe.title,
        "settings": recipe.source,
        "evaluations": [each.as_json() for each in outcome.evaluations],
        "left_out": skipped_json(outcome.left_out),
    }


def _keep(out: Path, outcome: Evaluated, content: dict[str, Any]) -> None:
    from threedrs_components.benchmarks.prediction_files import write_predictions

    with place_errors(f"write {out}"):
        for name, predictions in outcome.predictions.items():
            write_predictions(out / f"{name}.jsonl", predictions)
        text = json.dumps(content, indent=1, ensure_ascii=False)
        (out / METRICS_FILE).write_text(text + "\n", encoding="utf-8")
