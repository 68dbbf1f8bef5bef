"""Pages of the reference of settings: one for each group of sections, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from threedrs_components.objectives.registry import OBJECTIVES
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.grid.file import GridFile
from threedrs_workflows.reference.settings import (
    Section,
    Setting,
    sections_below,
    settings_of,
    summary,
)

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


DEFAULTS = {"": "must be given", "see below": "see below"}
"""Defaults in words; the others are shown as YAML."""


def setting_pages() -> dict[str, str]:
    """Name of each page and its text."""
    pages = {"grid": _grid_page()}
    for name, fields in GROUPS.items():
        pages[name] = "\n".join(_group_page(name, fields))
    return pages


def _grid_page() -> str:
    parts = ["# Settings: the grid file", "", "What stands at the top level of a grid file.", ""]
    top, *below = sections_below(Section("", GridFile))
    parts += [*_table(settings_of(top)), ""]
    return "\n".join([*parts, *(line for each in below for line in _section(each))])


def _group_page(title: str, fields: tuple[str, ...]) -> Iterator[str]:
    yield from (f"# Settings: {title}", "", INTRODUCTION)
    found = {each.name: each for each in settings_of(Section("", Experiment))}
    yield from _table(found[name] for name in fields)
    yield ""
    for section in sections_below(*(each for name in fields for each in found[name].sections)):
        yield from _section(section)


def _section(section: Section) -> Iterator[str]:
    kind = section.owner.model_fields.get("kind")
    of_kind = f" of kind {kind.default}" if kind is not None and kind.default else ""
    yield from (f"## {section.path}{of_kind} {{ #{_anchor(section)} }}", "")
    yield from (_plain(summary(section.owner)), "")
    yield from _table(settings_of(section))
    yield ""


def _table(settings: Iterable[Setting]) -> Iterator[str]:
    yield "| setting | takes | default | meaning |"
    yield "|---|---|---|---|"
    for each in settings:
        default = DEFAULTS.get(each.default, f"`{each.default}`")
        marks = f" *({', '.join(mark.lower() for mark in each.marks)})*" if each.marks else ""
        below = ", ".join(f"[{_kind(o)}](#{_anchor(o)})" for o in each.sections)
        shown = f"{each.takes}: {below}" if below else each.takes
        cells = (f"`{each.name}`", _plain(shown), _plain(default), _plain(each.text) + marks)
        yield f"| {' | '.join(cells)} |"


def _kind(section: Section) -> str:
    kind = section.owner.model_fields.get("kind")
    return str(kind.default) if kind is not None and kind.default else section.path


def _anchor(section: Section) -> str:
    return section.owner.__name__.lower()


def _plain(text: str) -> str:
    """Without what Markdown would read as HTML, or a table as the end of a cell."""
    parts = text.replace("|", "\\|").split("`")
    # Every other part stands between back quotes, and is shown as it is.
    parts[::2] = [each.replace("<", "&lt;") for each in parts[::2]]
    return "`".join(parts)
