"""What a grid file or a flag sets and nothing reads: told, and refused by nobody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from threedrs_platform.config.strict_yaml import KeyPath
from threedrs_platform.config.tree import get_in
from threedrs_platform.errors import Fault
from threedrs_workflows.grid.axes import Assignment, Choice
from threedrs_workflows.grid.file import ReadGrid, flat_settings
from threedrs_workflows.grid.start import START, Workbench
from threedrs_workflows.grid.tune_arms import Tuning
from threedrs_workflows.unread_settings import unread_settings

AXES = ("", "matrix", "zip", "ablate")
"""Sections of axes; those of `--set` stand in none."""
UNCHOSEN = ("irrelevant", "tune")
"""Sections whose values nobody has chosen for a cell."""
NOTHING = (None, "none")
"""Values that ask for nothing: where nobody reads them, all is as it was said."""
MOST_NAMED = 4


class _Written(NamedTuple):
    """One setting at one place of the grid; an axis is one place, with all its values."""

    file: str
    entry: KeyPath
    path: str


def unread_notes(grid: ReadGrid, bench: Workbench, cells: Sequence[Assignment]) -> list[Fault]:
    """Settings that a person has written and that nothing reads in any cell that has them.

    What a preset says is nobody's wish, and is not looked at.

    Args:
        grid: the file and the flags.
        bench: of the grid's base.
        cells: what each cell changes about the base, and each trial of tuning; all are sound.
    """
    base = dict(_places(_of_base(grid)))
    places, read, reasons = dict(base), set[_Written](), dict[_Written, str]()
    for choices in cells:
        own = dict(_places(choices.values()))
        places |= own
        waiting = [each for each in {**base, **own} if each not in read]
        if not waiting:
            continue
        experiment = bench.build(choices).experiment
        assert experiment is not None, "a grid with a fault has no notes"
        idle = unread_settings(experiment)
        for each in waiting:
            why = next((known.why for known in idle if known.covers(each.path)), None)
            if why is None:
                read.add(each)
            else:
                reasons.setdefault(each, why)
    unread = {each: why for each, why in reasons.items() if each not in read}
    return [*_notes(unread, places)]


def trial_choices(tuning: Tuning | None) -> Iterator[Assignment]:
    """What trials of tuning may change: the ends of what is searched, all together."""
    if tuning is None:
        return
    for arm in tuning.arms:
        for number in range(max(len(each.ends) for each in arm.dimensions)):
            choices = dict(arm.choices)
            for each in arm.dimensions:
                value = each.ends[min(number, len(each.ends) - 1)]
                choices[each.path] = Choice(each.path, value, tuning.document, ("tune", "space"))
            if tuning.bench.build(choices).experiment is not None:
                yield choices


def _of_base(grid: ReadGrid) -> Iterator[Choice]:
    """The grid's own base, and single values of `--set`."""
    own = {key: value for key, value in grid.file.base.items() if key != START}
    for path, at in flat_settings(own, "", ("base",)):
        yield Choice(path, get_in(grid.file.base, at[1:]), grid.document, at)
    for setting in grid.settings:
        if len(setting.values) == 1 and setting.path != "seeds":
            yield Choice(setting.path, setting.values[0], setting.document, ("base",))


def _places(choices: Iterable[Choice]) -> Iterator[tuple[_Written, Choice]]:
    """Every single setting of some choices."""
    for choice in choices:
        section = choice.at[0] if choice.at else ""
        if section in UNCHOSEN:
            continue
        entry = choice.at[: 1 if section == "base" else 2]
        for path, value in _leaves(choice.path, choice.value):
            if value not in NOTHING:
                yield _Written(choice.document.file, entry, path), choice


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for below, at in flat_settings(value, f"{path}.", ()):
            yield below, get_in(value, at)
    else:
        yield path, value


def _notes(unread: Mapping[_Written, str], places: Mapping[_Written, Choice]) -> Iterator[Fault]:
    """One for each place and reason, with all the settings that share them."""
    alike: dict[tuple[str, KeyPath, str], list[_Written]] = {}
    for each, why in unread.items():
        alike.setdefault((each.file, each.entry, why), []).append(each)
    for (_, entry, why), settings in alike.items():
        first = places[settings[0]]
        is_axis = (entry[0] if entry else "") in AXES
        paths = [each.path for each in settings]
        place = first.document.place(first.at[:-1] if is_axis else first.at, of_key=True)
        yield Fault(_message(paths, why, is_axis=is_axis), "", place.file, place.line, place.column)


def _message(paths: Sequence[str], why: str, *, is_axis: bool) -> str:
    named = ", ".join(paths[:MOST_NAMED])
    if len(paths) > MOST_NAMED:
        named += f" and {len(paths) - MOST_NAMED} more"
    one = len(paths) == 1
    if is_axis:
        verb = "tells" if one else "tell"
        return f"{named} {verb} no cells apart but by name: {why}, so nothing reads {_it(one)}"
    return f"{named} {'is' if one else 'are'} set, but {why}: nothing reads {_it(one)}"


def _it(one: bool) -> str:
    return "it" if one else "them"
