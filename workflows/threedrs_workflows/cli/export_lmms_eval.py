"""Write benchmarks as tasks that lmms-eval runs and scores, without threedrs if need be."""

from __future__ import annotations

import argparse

from threedrs_platform.errors import ConfigError, Fault
from threedrs_workflows.cli.export_arguments import add_question_arguments, questions_of
from threedrs_workflows.cli.output import columns, emit

EXAMPLES = """\
examples:
  workflows export lmms-eval --run last --benchmarks scanqa sqa3d --out tasks
  workflows export lmms-eval --prepared prepared --annotations data --benchmarks scanqa --out tasks
  python -m lmms_eval --include_path tasks --tasks threedrs_scanqa --log_samples ...
  workflows score scanqa --predictions logs/.../DATE_samples_threedrs_scanqa.jsonl

The folder's README says what a model gets, and which numbers only `workflows score` gives.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Flags of the verb."""
    add_question_arguments(parser, "val")
    parser.add_argument(
        "--protocol",
        action="append",
        default=[],
        metavar="NAME=PROTOCOL",
        help="how a benchmark is scored; default: the run's, else its first",
    )


def run(args: argparse.Namespace) -> int:
    """Export, then say what was written."""
    questions = questions_of(args, "evaluation")
    from threedrs_components.benchmarks.lmms_eval.folder import write_tasks
    from threedrs_components.benchmarks.registry import benchmark_named

    benchmarks = [benchmark_named(name) for name in questions.names]
    protocols = {**questions.protocols, **_protocols(args.protocol, questions.names)}
    tasks = write_tasks(questions.samples, questions.prepared, benchmarks, args.out, protocols)
    rows = [[each["task"], f"{each['questions']} questions", each["protocol"]]
            for each in tasks.values()]  # fmt: skip
    emit(args, {"out": str(args.out), "tasks": tasks}, columns([*rows, [str(args.out)]], ""))
    return 0


def _protocols(given: list[str], names: list[str]) -> dict[str, str]:
    """Protocol by benchmark.

    Args:
        given: the flag's words.
        names: benchmarks that are exported.

    Raises:
        ConfigError: no such benchmark or protocol, or the benchmark is not exported.
    """
    from threedrs_components.benchmarks.registry import benchmark_named
    from threedrs_platform.config.suggestions import nearest_and_all

    found = {}
    for each in given:
        name, equals, protocol = each.partition("=")
        if name not in names:
            fault = f"{name!r} is not exported{nearest_and_all(name, names)}"
            raise ConfigError([Fault(fault, path="--protocol")])
        known = benchmark_named(name).protocols
        if not equals or protocol not in known:
            fault = f"{name} has no protocol {protocol!r}{nearest_and_all(protocol, known)}"
            raise ConfigError([Fault(fault, path="--protocol")])
        found[name] = protocol
    return found
