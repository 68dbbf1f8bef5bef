"""The command line: `workflows VERB ...`, one file per verb, each imported only when it is used."""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

from threedrs_platform.errors import ConfigError, Fault, StorageError, ThreedrsError
from threedrs_platform.shown_urls import without_secrets
from threedrs_workflows.cli.output import print_json, stdout_for_results
from threedrs_workflows.cli.verbs import help_text, verb_names

INTERNAL_ERROR = 1
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one verb; its outcome is the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that has no ± shows ? instead
            stream.reconfigure(errors="replace")
    arguments = list(sys.argv[1:] if argv is None else argv)
    verb = next((word for word in arguments if word in verb_names()), "")
    as_json = "--json" in arguments
    try:
        return _dispatch(arguments)
    except ThreedrsError as error:
        return _report(error, verb, as_json)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`| head`) has enough. Python would complain again when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # the last line of defence: people get a message, not a traceback
        if _is_lost_database(error):
            return _report(StorageError(f"a database does not answer: {error}"), verb, as_json)
        return _report(error, verb, as_json)


def _is_lost_database(error: Exception) -> bool:
    """Whether an error is one of SQLAlchemy or Optuna that tells of no answer."""
    lost = {"OperationalError", "InterfaceError", "StorageInternalError"}
    return any(
        kind.__name__ in lost and kind.__module__.startswith(("sqlalchemy.", "optuna."))
        for kind in type(error).__mro__
    )


def _dispatch(arguments: list[str]) -> int:
    top = _Parser(prog="workflows", parents=[_global_flags()], add_help=False)
    top.add_argument("-h", "--help", action="store_true")
    top.add_argument("--version", action="store_true")
    top.add_argument("verb", nargs="?", default="")
    top.add_argument("rest", nargs=argparse.REMAINDER)
    first = top.parse_args(arguments)
    if first.version:
        from importlib.metadata import version

        print(f"threedrs {version('threedrs')}")
        return 0
    if not first.verb or first.verb == "help":
        print(help_text())
        return 0
    if first.verb not in verb_names():
        from threedrs_platform.config.suggestions import did_you_mean

        hint = did_you_mean(first.verb, verb_names())
        raise ConfigError([Fault(f"no verb {first.verb!r}{hint}")])
    return _run_verb(first)


def _run_verb(first: argparse.Namespace) -> int:
    module = import_module(f"threedrs_workflows.cli.{first.verb}")
    name, rest = first.verb, first.rest
    kinds: dict[str, str] = getattr(module, "KINDS", {})
    if rest and rest[0] in kinds:
        module = import_module(f"threedrs_workflows.cli.{kinds[rest[0]]}")
        name, rest = f"{name} {rest[0]}", rest[1:]
    parser = _Parser(
        prog=f"workflows {name}",
        description=module.__doc__ if kinds and name != first.verb else module.SUMMARY,
        epilog=getattr(module, "EXAMPLES", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[_global_flags()],
    )
    module.add_arguments(parser)
    parser.tell_defaults()
    rest = ["--help"] if first.help else rest
    given = argparse.Namespace(**_defaults(), verb=name.replace(" ", "-"))
    for name in _defaults():
        if hasattr(first, name):
            setattr(given, name, getattr(first, name))
    args = parser.parse_args(rest, given)
    with stdout_for_results(args.json):
        code: int = module.run(args)
    return code


def _global_flags() -> argparse.ArgumentParser:
    """Flags of every verb, accepted before and after it; absent ones leave no trace."""
    flags = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = flags.add_argument_group("flags of every verb")
    group.add_argument("--json", action="store_true", help="one JSON object on stdout, no prose")
    group.add_argument(
        "--workspace", metavar="DIR", help="default: $THREEDRS_WORKSPACE or .threedrs"
    )
    group.add_argument(
        "--db",
        metavar="URL",
        help="default: $THREEDRS_DATABASE_URL or the file results.db in the workspace",
    )
    group.add_argument(
        "--ray",
        metavar="ADDRESS",
        help="local, none (in this process), or a cluster's address; default: $THREEDRS_RAY or "
        "local, of `work` none",
    )
    group.add_argument("-q", "--quiet", action="store_true", help="results and errors only")
    group.add_argument("-v", "--verbose", action="count", help="more, twice for debugging")
    return flags


def _defaults() -> dict[str, Any]:
    return {
        "json": False,
        "workspace": None,
        "db": None,
        "ray": None,
        "quiet": False,
        "verbose": 0,
    }


class _Parser(argparse.ArgumentParser):
    """Raises our own error instead of leaving the process, and suggests the flag that was meant."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def tell_defaults(self) -> None:
        """Say in the help of each flag what holds without it, where it does not say so itself."""
        nothing: tuple[Any, ...] = (None, "", [], (), argparse.SUPPRESS)
        for action in self._actions:
            takes_value = action.option_strings and action.nargs != 0 and action.help is not None
            untold = action.default not in nothing and "default" not in str(action.help)
            if takes_value and untold:
                action.help = f"{action.help}; default: {action.default}"

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse's; unknown flags are faults."""
        parsed, unknown = self.parse_known_args(_joined(args), namespace)
        if unknown:
            from threedrs_platform.config.suggestions import did_you_mean

            flags = [flag for action in self._actions for flag in action.option_strings]
            hints = [
                did_you_mean(word.split("=")[0], [f for f in flags if f.startswith("--")])
                for word in unknown
            ]
            lines = [
                Fault(f"{self.prog}: unknown argument {word!r}{hint if 'mean' in hint else ''}")
                for word, hint in zip(unknown, hints, strict=True)
            ]
            raise ConfigError(lines)
        return parsed

    def error(self, message: str) -> NoReturn:
        """A usage error, with the line that shows the usage."""
        usage = " ".join(self.format_usage().split())
        raise ConfigError([Fault(f"{self.prog}: {message}\n{usage}")])


def _joined(words: Sequence[str]) -> list[str]:
    """Words with the value of `--slurm-options` in one: argparse takes `--a=b` alone for a flag."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] == "--slurm-options":
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _report(error: Exception, verb: str, as_json: bool) -> int:
    expected = isinstance(error, ThreedrsError)
    code = error.exit_code if isinstance(error, ThreedrsError) else INTERNAL_ERROR
    if os.environ.get("THREEDRS_DEBUG") == "1":
        traceback.print_exception(error, file=sys.stderr)
    message = without_secrets(str(error))
    if not expected:
        message = f"internal error: {type(error).__name__}: {message}"
    if as_json:
        told = error.faults if isinstance(error, ConfigError) else []
        faults = [{**vars(fault), "message": without_secrets(fault.message)} for fault in told]
        about = {"type": type(error).__name__, "message": message, "exit": code, "faults": faults}
        print_json(verb or "error", {"error": about})
        return code
    print(message, file=sys.stderr)
    if not expected:
        print("set THREEDRS_DEBUG=1 to see where it happened", file=sys.stderr)
    return code
