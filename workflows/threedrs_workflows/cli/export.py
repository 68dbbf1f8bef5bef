"""`workflows export`: questions and frames in the forms of other programs."""

from __future__ import annotations

import argparse
from typing import NoReturn

from threedrs_platform.config.suggestions import nearest_and_all
from threedrs_platform.errors import ConfigError, Fault

SUMMARY = "questions and frames as tasks of lmms-eval, or as conversations to train on elsewhere"

KINDS = {"lmms-eval": "export_lmms_eval", "conversations": "export_conversations"}
"""`workflows export WORD ...` is a verb of its own, in this module."""

EXAMPLES = """\
examples:
  workflows export lmms-eval --help        benchmarks as a folder for lmms-eval's --include_path
  workflows export conversations --help    training questions in the forms of LLaVA and ms-swift
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The form, which decides everything else."""
    parser.add_argument("form", nargs="?", default="", metavar="FORM", help=" or ".join(KINDS))
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> NoReturn:
    """A form that is known is a verb of its own."""
    wrong = f"no form {args.form!r}{nearest_and_all(args.form, KINDS)}"
    raise ConfigError([Fault(wrong if args.form else f"which form? known: {', '.join(KINDS)}")])
