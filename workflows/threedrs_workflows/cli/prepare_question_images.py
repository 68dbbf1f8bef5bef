"""Lay the images of multi-image questions out as clips, one for each set of images."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from threedrs_platform.errors import ConfigError, Fault
from threedrs_workflows.cli.output import emit

if TYPE_CHECKING:
    from threedrs_components.benchmarks.multi_image_choice import ChoiceLoader

EXAMPLES = """\
examples:
  workflows prepare question-images mindcube --annotations DATA/mindcube --split tinybench \\
    --media DATA/mindcube --out DATA/questions
  workflows prepare question-images mmsi --annotations DATA/mmsi --split test --out DATA/questions

A grid then has

  scenes: {kind: videos, root: DATA/questions, datasets: [mindcube], moments: all}
  benchmarks: {names: [mindcube], splits: {mindcube: tinybench}, annotations: DATA/mindcube}

What OUT holds already is kept, so the same command goes on after a crash. Images of one question
that are of several sizes are scaled to the largest, since a clip has one: `resized` counts them.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    parser.add_argument("benchmark", metavar="NAME", help="mindcube, viewspatial, ...")
    parser.add_argument(
        "--annotations", type=Path, required=True, metavar="DIR", help="its published files"
    )
    parser.add_argument("--split", default="test", help="of the questions")
    parser.add_argument(
        "--media", type=Path, metavar="DIR", help="what names of images start from, where files"
        " name them",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="gets NAME/*/nn.jpg")


def run(args: argparse.Namespace) -> int:
    """Lay them out, then say how many there are."""
    from threedrs_components.benchmarks.annotation_files import AnnotationFolder
    from threedrs_components.benchmarks.question_images import lay_out

    loader = _loader(args.benchmark)
    files = loader.locate(AnnotationFolder(args.annotations), args.split)
    choices = loader.choices(files.values())
    found = lay_out(args.benchmark, choices, args.media, args.out, files.records[0])
    told = {
        "benchmark": args.benchmark,
        "split": args.split,
        "out": str(args.out / args.benchmark),
        **vars(found),
    }
    text = (
        f"{found.questions} questions on {found.scenes} sets of up to {found.most_images} images: "
        f"{told['out']} ({found.kept} were there, {found.resized} resized)"
    )
    emit(args, told, text)
    return 0


def _loader(name: str) -> ChoiceLoader:
    """The reader of a benchmark whose questions have images of their own.

    Raises:
        ConfigError: there is none of this name.
    """
    from threedrs_components.benchmarks.multi_image_choice import ChoiceLoader
    from threedrs_components.benchmarks.registry import BENCHMARKS
    from threedrs_platform.config.suggestions import nearest_and_all

    known = {kind: each.loader() for kind, each in BENCHMARKS.items()}
    choices = {kind: each for kind, each in known.items() if isinstance(each, ChoiceLoader)}
    if name not in choices:
        reason = f"no benchmark {name!r} with images of its own{nearest_and_all(name, choices)}"
        raise ConfigError([Fault(reason)])
    return choices[name]
