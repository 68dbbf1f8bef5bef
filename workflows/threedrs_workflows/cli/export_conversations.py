"""Write training questions and frames as conversations that other programs train on."""

from __future__ import annotations

import argparse

from threedrs_workflows.cli.export_arguments import add_question_arguments, questions_of
from threedrs_workflows.cli.output import columns, emit

FORMS = ("llava", "ms-swift")
"""Those of `conversation_files`, which brings torch."""

EXAMPLES = """\
examples:
  workflows export conversations --run last --out conversations
  workflows export conversations --prepared prepared --annotations data --benchmarks scanqa sqa3d \\
    --out conversations --form ms-swift

llava.json is for LLaVA's --data_path (--image_folder OUT), ms_swift.jsonl for ms-swift's --dataset
(ROOT_IMAGE_DIR=OUT). A grid learns from either with

  scenes: {kind: videos, ..., conversations: {records: OUT/llava.json, media: OUT}}
  benchmarks: {..., training: [conversations], prompts: {train_preamble: ""}}

The texts hold the whole prompt as the run has it, so nothing goes before it again. Boxes stand in
words, in metres of the scene: [x, y, z, dx, dy, dz].
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    add_question_arguments(parser, "train")
    parser.add_argument(
        "--form", nargs="+", choices=FORMS, default=list(FORMS), help="default: both"
    )


def run(args: argparse.Namespace) -> int:
    """Export, then say what was written."""
    questions = questions_of(args, "train")
    from threedrs_components.benchmarks.conversation_files import write_conversations
    from threedrs_components.benchmarks.registry import BENCHMARKS

    one_box = [name for name, kind in BENCHMARKS.items() if kind.one_box]
    files = write_conversations(
        questions.samples, questions.prepared, args.out, one_box, tuple(dict.fromkeys(args.form))
    )
    content = {"out": str(args.out), "questions": len(questions.samples), "files": files}
    rows = [
        [str(args.out / name), f"{len(questions.samples)} questions"] for name in files.values()
    ]
    emit(args, content, columns(rows, ""))
    return 0
