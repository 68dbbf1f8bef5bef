"""Pages of the reference of settings: one for each group of sections, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from threedrs_components.objectives.registry import OBJECTIVES
from threedrs_platform.config import Config
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.grid.file import GridFile
from threedrs_workflows.reference.settings import Setting, sections_below, settings_of, summary

GROUPS: Mapping[str, tuple[str, ...]] = {
    "scenes": ("scenes", "prepare"),
    "students": ("students", "student", "student_pretraining"),
    "teachers": ("teachers", "teacher", "teacher_pretraining"),
    "losses": (*OBJECTIVES, "fusion"),
    "training": ("training", "seed", "held_out"),
    "evaluation": ("benchmarks", "evaluation", "probe"),
}
"""Page -> the fields of `Experiment` that it describes, with all that stands below them."""
INTRODUCTION = """\
A setting is written by its dotted name, in a grid's `base`, in an axis or as
`--set KEY=VALUE`. A mark says that it is in no key, so that a change computes nothing again:
*conduct* (how work is done), *place* (where data lie; their content counts), *reported* (only said
of it).
"""


def setting_pages() -> dict[str, str]:
    """Name of each page and its text."""
    pages = {"grid": _grid_page()}
    for name, fields in GROUPS.items():
        pages[name] = "\n".join(_group_page(name, fields))
    return pages


def _grid_page() -> str:
    parts = ["# Settings: the grid file", "", "What stands at the top level of a grid file.", ""]
    for owner in sections_below(GridFile):
        parts += _section(owner)
    return "\n".join(parts)


def _group_page(title: str, fields: tuple[str, ...]) -> Iterator[str]:
    yield from (f"# Settings: {title}", "", INTRODUCTION)
    found = {each.name: each for each in settings_of(Experiment)}
    yield from _table(found[name] for name in fields)
    yield ""
    below = [owner for name in fields for owner in found[name].sections]
    for owner in sections_below(*below):
        yield from _section(owner)


def _section(owner: type[Config]) -> Iterator[str]:
    kind = owner.model_fields.get("kind")
    named = f"kind: {kind.default}" if kind is not None and kind.default else ""
    title = f"{owner.__name__} (`{named}`)" if named else owner.__name__
    yield from (f"## {title}", "", _plain(summary(owner)), "")
    yield from _table(settings_of(owner))
    yield ""


def _table(settings: Iterator[Setting] | list[Setting]) -> Iterator[str]:
    yield "| setting | takes | default | meaning |"
    yield "|---|---|---|---|"
    for each in settings:
        default = f"`{each.default}`" if each.default else "must be given"
        marks = f" *({', '.join(mark.lower() for mark in each.marks)})*" if each.marks else ""
        below = ", ".join(f"[{o.__name__}](#{_anchor(o)})" for o in each.sections)
        shown = f"{each.takes}: {below}" if below else each.takes
        cells = (f"`{each.name}`", _plain(shown), _plain(default), _plain(each.text) + marks)
        yield f"| {' | '.join(cells)} |"


def _anchor(owner: type[Config]) -> str:
    """As MkDocs makes it of the section's title."""
    kind = owner.model_fields.get("kind")
    return owner.__name__.lower() + (
        f"-kind-{kind.default}" if kind is not None and kind.default else ""
    )


def _plain(text: str) -> str:
    """Without what Markdown would read as HTML, or a table as the end of a cell."""
    parts = text.replace("|", "\\|").split("`")
    # Every other part stands between back quotes, and is shown as it is.
    parts[::2] = [each.replace("<", "&lt;") for each in parts[::2]]
    return "`".join(parts)
