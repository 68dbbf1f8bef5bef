"""The tree that all cells of a grid start from: preset, the grid's own base, --smoke, --set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from threedrs_components.scenes.registry import SCENES
from threedrs_platform.config.agreement import Agreement
from threedrs_platform.config.paths import known_paths, path_fault, split_path
from threedrs_platform.config.strict_yaml import Document, KeyPath
from threedrs_platform.config.tree import Tree, get_in, put_in
from threedrs_platform.errors import ConfigError, Fault
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.experiment_identity import experiment_id
from threedrs_workflows.grid.axes import Assignment
from threedrs_workflows.grid.file import ReadGrid, undotted_twice
from threedrs_workflows.grid.presets import load_preset
from threedrs_workflows.grid.rendered_only import RENDERED, without_weights
from threedrs_workflows.written import Written

STARTING_POINT = {"scenes", "students", "student"}
"""What a base without a preset has to give itself."""
START = "preset"
"""The key that names the preset to start from, in a grid's base and in a preset."""
NO_SEED = "seeds are replicates: list them under `seeds:`, or --set seeds=1,2"


def base_tree(grid: ReadGrid, *, smoke: bool = False) -> tuple[Tree, list[Fault]]:
    """Settings of the baseline cell, each with its place, and the faults in how they are given.

    Raises:
        ConfigError: the preset cannot be read, or its student cannot see the scenes.
    """
    document, raw = grid.document, dict(grid.file.base)
    preset = raw.pop(START, None)
    tree = Tree(values={(): document.place(("base",))})
    faults = undotted_twice(raw, document, ("base",))
    if preset is not None:
        start = _preset_name(preset, document, ("base", "preset"))
        tree = _on_preset(tree, start, document, ("base", "preset"), grid.env, faults)
    elif not STARTING_POINT & raw.keys():
        hint = "start from a preset: `base: {preset: micro}`"
        faults.append(document.fault(f"no preset, and no settings of its own; {hint}", ("base",)))
    for key, value in raw.items():
        message = None if isinstance(value, Mapping) else path_fault(Experiment, key, tree.data)
        message = NO_SEED if key == "seed" else message
        if message:
            faults.append(document.fault(message, ("base", key), of_key=True))
        else:
            tree = tree.put(split_path(key), value, document, ("base", key))
    if lack := _lack_of_weights(_with_settings(tree, grid)):
        raise ConfigError(lack)
    if smoke and isinstance(preset, str):
        small = load_preset(preset, document, ("base", "preset"), smoke=True, env=grid.env)
        tree = tree.put((), small.data, small, ())
    elif smoke:
        faults.append(document.fault("--smoke needs a preset, which has a small twin", ("base",)))
    faults += [each.document.fault(NO_SEED, ()) for each in grid.settings if each.path == "seed"]
    return _with_settings(tree, grid), faults


def _lack_of_weights(tree: Tree) -> list[Fault]:
    """One fault in place of all that follow from it, in the preset and in its small twin."""
    chosen = tree.data.get("student")
    kind = get_in(tree.data, ("scenes", "kind"))
    student = get_in(tree.data, ("students", str(chosen)))
    if kind == RENDERED or kind not in list(SCENES) or not isinstance(student, Mapping):
        return []
    if student.get("size", "micro") != "micro" or student.get("checkpoint") is not None:
        return []
    place = tree.place(("scenes", "kind"))
    message = without_weights(str(kind), "student", str(chosen))
    return [Fault(message, "scenes.kind", place.file, place.line, place.column)]


def _on_preset(
    tree: Tree,
    name: str,
    asking: Document,
    at: KeyPath,
    env: Mapping[str, str],
    faults: list[Fault],
) -> Tree:
    """The tree with a preset's settings, above those of the preset that it starts from itself."""
    preset = load_preset(name, asking, at, env=env)
    settings = {key: value for key, value in preset.data.items() if key != START}
    if START in preset.data:
        start = _preset_name(preset.data[START], preset, (START,))
        tree = _on_preset(tree, start, preset, (START,), env, faults)
    faults += undotted_twice(settings, preset, ())
    return tree.put((), settings, preset, ())


def _preset_name(value: Any, document: Document, at: KeyPath) -> str:
    if not isinstance(value, str):
        raise ConfigError([document.fault("expected the name of a preset", at)])
    return value


def _with_settings(tree: Tree, grid: ReadGrid) -> Tree:
    """`--set` flags with one value change the base; faulty names are reported with the axes."""
    for setting in grid.settings:
        single = len(setting.values) == 1 and setting.path != "seeds"
        if single and path_fault(Experiment, setting.path, tree.data) is None:
            tree = tree.put(split_path(setting.path), setting.values[0], setting.document, ())
    return tree


@dataclass(frozen=True)
class Built:
    """One cell's experiment, or what is wrong with it."""

    experiment: Experiment | None
    data: Mapping[str, Any]
    """What is known of the settings of a faulty one."""
    written: Written

    @cached_property
    def values(self) -> Mapping[str, Any]:
        """All settings as plain data; as far as they are known where the experiment is faulty."""
        return self.data if self.experiment is None else self.written.canonical(self.experiment)

    def value_of(self, path: str) -> Any:
        """A setting by its dotted name; None where this cell has none of that name."""
        return get_in(self.values, split_path(path))


Told = tuple[tuple[str, str], ...]
"""What is chosen: names and values as text."""


@dataclass
class Workbench:
    """Builds cells on a base; the same assignment is built once, and so is an equal section."""

    base: Tree
    written: Written = field(default_factory=Written)
    _built: dict[Told, Built] = field(default_factory=dict)
    _sections: dict[tuple[str, str], Any] = field(default_factory=dict)
    """Sections that were sound in some cell, by name and text of their data."""
    _chosen: dict[tuple[str, Told], Any] = field(default_factory=dict)
    """The same by name and what was chosen in them."""

    def build(self, choices: Assignment) -> Built:
        """The experiment with these choices."""
        key = tuple([choice.told for choice in choices.values()])
        if key not in self._built:
            experiment = self._variant(choices) if choices else None
            built = self._whole(choices) if experiment is None else None
            self._built[key] = built or Built(experiment, {}, self.written)
        return self._built[key]

    @cached_property
    def _agreement(self) -> Agreement[Experiment] | None:
        base = self.build({}).experiment
        return None if base is None else Agreement(base)

    def _variant(self, choices: Assignment) -> Experiment | None:
        """The experiment, put together from sections that other cells have, if these suffice."""
        if self._agreement is None:
            return None
        changed = {}
        for section, told in _by_section(choices).items():
            if (section, told) not in self._chosen:
                return None
            changed[section] = self._chosen[section, told]
        return self._agreement.variant(changed)

    def _whole(self, choices: Assignment) -> Built:
        data = self.base.data
        for path, choice in choices.items():
            data = put_in(data, split_path(path), choice.value)
        names = {name: (name, self._text(value)) for name, value in data.items()}
        known = {name: self._sections.get(key, data[name]) for name, key in names.items()}
        # What was sound in another cell is so here; how sections fit together is looked at anew.
        experiment, faults = Tree(known).build(Experiment)
        if experiment is None or faults:
            return Built(None, data, self.written)
        for name in Experiment.model_fields:
            key = names.get(name, (name, ""))
            # An equal object, which pydantic has copied: cells that share it are told apart sooner.
            experiment.__dict__[name] = self._sections.setdefault(key, getattr(experiment, name))
        for section, told in _by_section(choices).items():
            self._chosen[section, told] = getattr(experiment, section)
        return Built(experiment, data, self.written)

    def _text(self, value: Any) -> str:
        return self.written.once("text", lambda: repr(value), value)

    def faults(self, choices: Assignment) -> list[Fault]:
        """What is wrong with these choices, each fault where the value was written."""
        tree = self.base
        for path, choice in choices.items():
            tree = tree.put(split_path(path), choice.value, choice.document, choice.at)
        return _lack_of_weights(tree) or tree.build(Experiment)[1]

    def faults_of_broken(self, choices: Assignment) -> list[Fault]:
        """As `faults`, at the price of one look for cells that are known to be sound."""
        return [] if self.build(choices).experiment is not None else self.faults(choices)

    def cell_id(self, choices: Assignment) -> str:
        """Identity of the cell with these choices, which must be without fault."""
        experiment = self.build(choices).experiment
        assert experiment is not None
        return self.written.once("id", lambda: experiment_id(experiment, self.written), experiment)

    def path_fault(self, path: str) -> str | None:
        """Why a dotted name is no setting; None when it is one."""
        return path_fault(Experiment, path, self.base.data)

    def known_paths(self) -> list[str]:
        """Every setting by its dotted name."""
        paths = known_paths(Experiment, self.base.data)
        return [path for path in paths if path != "seed"]


def _by_section(choices: Assignment) -> dict[str, Told]:
    """What is chosen in each section."""
    found: dict[str, Told] = {}
    for choice in choices.values():
        found[choice.section] = (*found.get(choice.section, ()), choice.told)
    return found
