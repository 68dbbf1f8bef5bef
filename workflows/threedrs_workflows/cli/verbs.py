"""Which verbs there are, and the page that `workflows --help` shows.

A verb is a module of this package with a `SUMMARY`. Summaries are read from the source, because
importing every verb for one page of help would take seconds.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

_SUMMARY = re.compile(r"^SUMMARY(?:: \w+)? = (.+?)\n\n", re.MULTILINE | re.DOTALL)
"""The statement, up to the empty line behind it: parsing all modules would take longer than most
verbs do."""
_GROUPS = {
    "Write a grid": ("init", "validate", "plan", "accept", "accepted"),
    "Run it": (
        "submit",
        "tune",
        "status",
        "logs",
        "wait",
        "pause",
        "cancel",
        "resume",
        "retry",
        "work",
    ),
    "Read the results": ("results", "compare", "trace", "report", "ui"),
    "Use a trained student": ("ask", "evaluate", "predictions"),
    "Real data, and one step by hand": (
        "data",
        "prepare",
        "extract",
        "probe",
        "score",
        "export",
    ),
    "Look after the workspace": ("verify", "gc", "doctor"),
}

_INTRODUCTION = """\
workflows: ablation grids of 3D-aware multimodal LLMs that survive crashes and compute nothing twice

usage: workflows VERB [arguments] [--json] [--workspace DIR] [--ray local|none|ADDRESS]
"""

_EXAMPLES = """\
Examples
  workflows init first                         write a first grid file; --scenes DIR: for yours
  workflows validate ablations.yaml            check a grid; shows its cells and all its mistakes
  workflows plan ablations.yaml                what would run, what is there already, and why
  workflows submit ablations.yaml              run it; run it again after an edit: only the
                                               difference is computed
  workflows submit ablations.yaml --smoke      the same pipeline in tiny sizes, in about a minute
  workflows submit ablations.yaml --set training.steps=700 --where "teacher != 'mae'"
  workflows status                             how far the last run is
  workflows results                            its table: means over seeds against the baseline

`workflows VERB --help` says more about each. A grid is a YAML file; ablations.yaml explains itself.
Exit codes: 0 done, 1 internal error, 2 a file or flag is wrong, 3 some cells failed or scenes are
bad, 4 all failed, 5 cancelled, 6 paused, 7 somebody else holds it, 8 verification
failed, 10 work to do, 75 try again later.
"""


def summaries() -> dict[str, str]:
    """Every verb and its one-line summary."""
    found = ((path.stem, _SUMMARY.search(text)) for path, text in _modules())
    return {verb: str(ast.literal_eval(each[1].strip())) for verb, each in found if each}


@cache
def verb_names() -> list[str]:
    """Every verb."""
    return [path.stem for path, text in _modules() if _SUMMARY.search(text)]


def help_text() -> str:
    """The page of `workflows --help`."""
    known = summaries()
    width = max(map(len, known), default=0)
    grouped = {name for names in _GROUPS.values() for name in names}
    groups = {**_GROUPS, "More": tuple(name for name in known if name not in grouped)}
    parts = [_INTRODUCTION]
    for title, names in groups.items():
        lines = [f"  {name:{width}}  {known[name]}" for name in names if name in known]
        if lines:
            parts.append("\n".join([title, *lines]) + "\n")
    return "\n".join([*parts, _EXAMPLES.rstrip()])


def _modules() -> list[tuple[Path, str]]:
    """The files of this package with their text."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return [(path, path.read_text(encoding="utf-8")) for path in files]
