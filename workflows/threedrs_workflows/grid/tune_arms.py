"""From a grid's `tune:` section to arms: what is tuned where, checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from threedrs_components.benchmarks.config import BenchmarksConfig
from threedrs_components.objectives.registry import VALIDATION_CURVES
from threedrs_platform.config import CONDUCT
from threedrs_platform.config.paths import carries
from threedrs_platform.config.strict_yaml import Document, KeyPath
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.config.tree import get_in
from threedrs_platform.database.measurements import flatten
from threedrs_platform.database.trials import SearchRange, arm_name
from threedrs_platform.errors import Fault
from threedrs_platform.identity.canonical import canonical_json
from threedrs_platform.identity.recipes import sha256_text
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.experiment_identity import canonical_experiment, experiment_id
from threedrs_workflows.grid.axes import Assignment, Choice
from threedrs_workflows.grid.file import ReadGrid, StepResources
from threedrs_workflows.grid.start import Workbench
from threedrs_workflows.grid.tune_section import TuneSection
from threedrs_workflows.grid.tune_space import (
    FORMS,
    Choices,
    Dimension,
    Numbers,
    SpaceReader,
    ordered_ends,
    values_above,
    values_below,
)

LOOKS = 8
"""How often a trial looks at the held-out scenes if a pruner watches and the grid does not say."""
TRAINING_SPLITS = ("train", "text")
PROBE = "probe"
"""First part of the metrics that no benchmark measures."""
_NOT_TUNABLE = {
    "scenes": "it changes the data that trials are judged on",
    "benchmarks": "it changes what trials are judged by",
    "probe": "it changes what trials are judged by",
    "evaluation": "it changes what trials are judged by",
    "held_out": "it changes the scenes that trials are judged on; see tune.held_out",
    "seed": "seeds are replicates; see tune.seeds",
    "training.steps": "it is the budget, which all trials and arms share",
}


@dataclass(frozen=True)
class Arm:
    """A part of the grid that is tuned by itself."""

    values: Mapping[str, Any]
    """Settings that tell this arm from the others, and their values here."""
    choices: Assignment
    """The same, each with its place in the grid file."""
    dimensions: tuple[Dimension, ...]
    """What is tuned here: the dimensions of the space that have an effect."""
    experiment: Experiment
    """Where the search starts: the base with the arm's own values."""
    label: str = ""
    """What the grid calls the one cell that has these values, if it names it."""

    @property
    def name(self) -> str:
        """The arm's settings on one line."""
        return arm_name(self.values)

    @property
    def title(self) -> str:
        """The arm for people."""
        return self.label or self.name

    def ranges(self, bench: Workbench) -> dict[str, SearchRange]:
        """The dimensions that have two ends, and at which of them more values would be taken."""
        return {
            each.path: SearchRange(
                *ends,
                log=isinstance(each, Numbers) and each.log,
                wider_below=self._takes(bench, each.path, values_below(each, ends[0])),
                wider_above=self._takes(bench, each.path, values_above(each, ends[1])),
                listed=isinstance(each, Choices),
            )
            for each in self.dimensions
            if (ends := ordered_ends(each)) is not None
        }

    def _takes(self, bench: Workbench, path: str, values: Iterable[float]) -> bool:
        """Whether the configuration takes one of these values, which stand in no file."""
        changes = (Choice(path, value, Document("", "", {}), ()) for value in values)
        built = (bench.build({**self.choices, path: change}) for change in changes)
        return any(each.experiment is not None for each in built)

    def start(self) -> dict[str, Any] | None:
        """The base's own values of what is tuned; None if one lies outside its range."""
        tree = self.experiment.canonical()
        values = {d.path: get_in(tree, tuple(d.path.split("."))) for d in self.dimensions}
        fits = all(dimension.holds(values[dimension.path]) for dimension in self.dimensions)
        return values if fits else None


@dataclass(frozen=True)
class Tuning:
    """A tuning run: its arms and how they are searched."""

    grid: str
    """Name of the grid."""
    section: TuneSection
    arms: tuple[Arm, ...]
    bench: Workbench
    """Builds experiments on the grid's base."""
    document: Document
    """The grid file, for faults with their lines."""
    resources: Mapping[str, StepResources] = field(default_factory=dict)
    """Resources by kind of step, where the grid names any."""

    @property
    def run(self) -> str:
        """Name of the studies' run: the same as long as the same is searched in the same way.

        Budget, sampler, pruner and parallelism are left out: a study goes on under others.
        """
        section = self.section
        meaning = {
            "arms": [
                [arm.name, experiment_id(arm.experiment), [repr(d) for d in arm.dimensions]]
                for arm in self.arms
            ],
            "metrics": [section.metrics, section.directions],
            "seeds": section.seeds,
            "held_out": section.held_out,
        }
        return f"{self.grid}-{sha256_text(canonical_json(meaning))[:8]}"

    def experiment(self, arm: Arm, values: Mapping[str, Any]) -> Experiment | list[Fault]:
        """A trial's experiment, or why there is none with these values."""
        section = self.section
        settings = {**values, "held_out": section.held_out}
        if section.pruner != "none" and not arm.experiment.training.validate_every:
            settings["training.validate_every"] = looking_interval(arm.experiment)
        at: KeyPath = ("tune", "space")
        changed = {p: Choice(p, v, self.document, (*at, p)) for p, v in settings.items()}
        built = self.bench.build({**arm.choices, **changed})
        return built.experiment or self.bench.faults({**arm.choices, **changed})


def with_budget(tuning: Tuning, trials: int | None, parallel: int | None) -> Tuning:
    """The same search with another budget, or more at a time."""
    changes = {"trials": trials, "parallel": parallel}
    given = {key: value for key, value in changes.items() if value is not None}
    return replace(tuning, section=tuning.section.model_copy(update=given))


def looking_interval(experiment: Experiment) -> int:
    """Training steps between looks at the held-out scenes."""
    return experiment.training.validate_every or max(1, -(-experiment.training.steps // LOOKS))


def section_faults(grid: ReadGrid, bench: Workbench) -> tuple[list[Dimension], list[Fault]]:
    """The dimensions of the section, and what is wrong with it as far as it needs no cells."""
    section = grid.file.tune
    if section is None:
        return [], []
    check = _SectionCheck(grid, bench, section)
    check.read_space()
    check.check_values()
    check.check_searcher()
    return check.space, check.faults


def make_tuning(
    grid: ReadGrid,
    bench: Workbench,
    name: str,
    cells: Iterable[tuple[Experiment, str]],
    space: Sequence[Dimension],
) -> tuple[Tuning | None, list[Fault]]:
    """The tuning run of a grid whose section is sound; None where there is no section.

    Args:
        cells: experiments and labels of the grid's cells, which say what arms there are.
    """
    section = grid.file.tune
    if section is None:
        return None, []
    arms, faults = [], []
    for values, label, cell in _arms(section.arms, cells):
        at: KeyPath = ("tune", "arms")
        choices = {path: Choice(path, v, grid.document, at) for path, v in values.items()}
        built = bench.build(choices)
        if built.experiment is None:
            faults += bench.faults(choices)
            continue
        telling = tuple(d for d in space if _has_effect(bench, choices, d, space))
        arms.append(Arm(values, choices, telling, built.experiment, label))
        if cell is not None and (others := _told_elsewhere(bench, choices, cell, space)):
            message = (
                f"{label}: its cell differs from the base in {', '.join(others)}, too, which its "
                "trials would not have; name it in arms, or set it in base"
            )
            faults.append(grid.document.fault(message, at))
        if not telling:
            message = (
                f"nothing of the space has an effect where {arm_name(values)}; add a setting that "
                f"has, such as training.learning_rate, or leave the arm out with --where"
                if values
                else "nothing of the space has an effect; choose a teacher, or other settings"
            )
            faults.append(grid.document.fault(message, ("tune", "space")))
    steps: dict[str, StepResources] = dict(grid.file.steps.items())
    return Tuning(name, section, tuple(arms), bench, grid.document, steps), faults


def _arms(
    paths: Sequence[str], cells: Iterable[tuple[Experiment, str]]
) -> list[tuple[dict[str, Any], str, Experiment | None]]:
    """Distinct values of the arms' settings among the cells, in their order.

    With the label of the cell that has them, and that cell; empty where several cells do, or where
    it has no name.
    """
    found: list[tuple[dict[str, Any], list[tuple[Experiment, str]]]] = []
    for experiment, label in cells if paths else ():
        tree = experiment.canonical()
        values = {path: get_in(tree, tuple(path.split("."))) for path in paths}
        alike = next((alike for known, alike in found if known == values), None)
        if alike is None:
            found.append((values, [(experiment, label)]))
        else:
            alike.append((experiment, label))
    named: list[tuple[dict[str, Any], str, Experiment | None]] = [
        (values, alike[0][1], alike[0][0])
        if len(alike) == 1 and alike[0][1]
        else (values, "", None)
        for values, alike in found
    ]
    return named or [({}, "", None)]


def _told_elsewhere(
    bench: Workbench, choices: Assignment, cell: Experiment, space: Sequence[Dimension]
) -> list[str]:
    """Settings that make a cell another than its arm is at the cell's values of the space."""
    nowhere = Document("", "", {})  # these values stand in no file
    tree = cell.canonical()
    own = {
        d.path: Choice(d.path, get_in(tree, tuple(d.path.split("."))), nowhere, ()) for d in space
    }
    arm = bench.build({**choices, **own}).experiment
    if arm is None or experiment_id(arm) == experiment_id(cell):
        return []
    one, other = (flatten(canonical_experiment(each)) for each in (arm, cell))
    return sorted(path for path in one.keys() | other.keys() if one.get(path) != other.get(path))


def _has_effect(
    bench: Workbench, choices: Assignment, dimension: Dimension, space: Sequence[Dimension]
) -> bool:
    """Whether a dimension makes cells differ, the others at their last values or the base's."""
    others = {d.path: d.ends[-1] for d in space if d.path != dimension.path}
    return any(_differ(bench, choices, dimension, rest) for rest in (others, {}))


def _differ(
    bench: Workbench, choices: Assignment, dimension: Dimension, rest: Mapping[str, Any]
) -> bool:
    nowhere = Document("", "", {})  # these values stand in no file
    ids = set()
    for value in dimension.ends:
        values = {**rest, dimension.path: value}
        changed = {p: Choice(p, v, nowhere, ()) for p, v in values.items()}
        built = bench.build({**choices, **changed})
        if built.experiment is not None:
            ids.add(experiment_id(built.experiment))
    return len(ids) > 1


@dataclass
class _SectionCheck:
    """Checks one section against the settings of its grid, collecting faults."""

    grid: ReadGrid
    bench: Workbench
    section: TuneSection
    faults: list[Fault] = field(default_factory=list)
    space: list[Dimension] = field(default_factory=list)

    def read_space(self) -> None:
        """Read the dimensions, and try each end of each range in the configuration."""
        at: KeyPath = ("tune", "space")
        reader = SpaceReader(self.grid.document, self._path_fault, self.faults)
        self.space = reader.read(self.section.space, at)
        for dimension in self.space:
            form = next(key for key in self.section.space[dimension.path] if key in FORMS)
            for index, value in enumerate(dimension.ends):
                place = (*at, dimension.path, form, index)
                choice = Choice(dimension.path, value, self.grid.document, place)
                self.faults += self._value_faults(choice)

    def check_values(self) -> None:
        """What is checked value by value."""
        section = self.section
        messages = [
            *(("arms", self._arms_fault(path)) for path in section.arms),
            *(("metric", self._metric_fault(name)) for name in section.metrics),
            ("direction", self._direction_fault(section.directions)),
            ("watch", self._watch_fault(section.watch)),
            ("on_split", self._on_split_fault(section.on_split)),
        ]
        self._refuse([(key, message) for key, message in messages if message])

    def check_searcher(self) -> None:
        """Sampler and pruner must be able to do what is asked of them."""
        section, several = self.section, len(self.section.metrics) > 1
        problems = []
        if section.pruner != "none" and several:
            problems.append(("pruner", "several metrics have no common order; use pruner: none"))
        if section.sampler == "cmaes" and several:
            problems.append(("sampler", "cmaes searches for one metric; use tpe or gp"))
        lists = [d.path for d in self.space if isinstance(d, Choices)]
        if section.sampler == "cmaes" and lists:
            problems.append(("sampler", f"cmaes searches numbers, not {', '.join(lists)}; use tpe"))
        endless = [d.path for d in self.space if d.points() is None]
        if section.sampler == "grid" and endless:
            message = f"grid needs a `step` or choices for {', '.join(endless)}"
            problems.append(("sampler", message))
        self._refuse(problems)

    def _refuse(self, problems: Iterable[tuple[str, str]]) -> None:
        """Add faults, each with the key of the section that it is of."""
        self.faults += [self.grid.document.fault(text, ("tune", key)) for key, text in problems]

    def _value_faults(self, choice: Choice) -> list[Fault]:
        """What the configuration says against a value; what it says anyway is told elsewhere."""
        before = {fault.message for fault in self.bench.faults({})}
        found = [fault.message for fault in self.bench.faults({choice.path: choice})]
        return [choice.document.fault(each, choice.at) for each in found if each not in before]

    def _path_fault(self, path: str) -> str | None:
        if (message := self.bench.path_fault(path)) is not None:
            return message
        if carries(Experiment, path, self.bench.build({}).values, CONDUCT):
            return f"{path} has no effect: it decides how results are computed, not which"
        for known, why in _NOT_TUNABLE.items():
            if path == known or path.startswith(f"{known}."):
                return f"{path} cannot be tuned: {why}"
        if path in self.section.arms:
            return f"{path} tells the arms apart; it cannot be tuned, too"
        return None

    def _arms_fault(self, path: str) -> str | None:
        if (message := self.bench.path_fault(path)) is not None:
            return message
        if path == "training.steps":
            return f"arms cannot differ in {path}: {_NOT_TUNABLE[path]}"
        return None

    def _metric_fault(self, name: str) -> str | None:
        experiment = self.bench.build({}).experiment
        config = BenchmarksConfig() if experiment is None else experiment.benchmarks
        known = [*config.names, PROBE]
        source, slash, rest = name.partition("/")
        if source not in known:
            hint = did_you_mean(source, known)
            return f"metric {name!r}: nothing measures {source!r} in this grid{hint}"
        if not slash or not rest:
            return f"metric {name!r}: say which of {source}'s numbers, e.g. scanrefer/acc@0.25"
        return None

    def _direction_fault(self, directions: Sequence[str]) -> str | None:
        count = len(self.section.metrics)
        if len(directions) != count:
            return f"{len(directions)} directions for {count} metrics; give one, or one each"
        return None

    def _watch_fault(self, name: str) -> str | None:
        if name in VALIDATION_CURVES:
            return None
        return f"no curve {name!r} is drawn of held-out scenes" + did_you_mean(
            name, list(VALIDATION_CURVES)
        )

    def _on_split_fault(self, split: str) -> str | None:
        if split in TRAINING_SPLITS:
            return None
        return (
            f"trials may not be judged on {split!r}: settings chosen by the scenes that results "
            "are reported on are fitted to them, and the comparison is worth nothing. Leave "
            f"on_split out: trials are scored on {self.section.held_out:.0%} of the annotated "
            "training scenes, which they do not train on (tune.held_out)"
        )
