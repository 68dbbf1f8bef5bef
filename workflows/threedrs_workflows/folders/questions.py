"""Questions with the frames they are about: of a finished cell, or of annotations and scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from threedrs_components.benchmarks.annotation_sources import find_annotations
from threedrs_components.benchmarks.registry import benchmark_named
from threedrs_components.benchmarks.sample_files import read_samples
from threedrs_components.benchmarks.wording import Wording
from threedrs_components.scenes.prepared import PreparedScenes
from threedrs_platform.config.suggestions import nearest_and_all
from threedrs_platform.database.measurements import CellResult
from threedrs_platform.errors import ConfigError, DataError, Fault
from threedrs_platform.records import Sample
from threedrs_platform.workspace import Workspace

Part = Literal["evaluation", "train"]
"""Which samples of a cell."""


@dataclass(frozen=True)
class Questions:
    """Samples, and the prepared scenes they are about."""

    samples: Sequence[Sample]
    prepared: PreparedScenes
    protocols: Mapping[str, str] = field(default_factory=dict)
    """How a benchmark is scored, where it is not by its first protocol."""

    @property
    def names(self) -> list[str]:
        """Benchmarks and sets of questions, in order of appearance."""
        return list(dict.fromkeys(sample.benchmark for sample in self.samples))

    def with_scenes(self, *, leave_out: bool) -> tuple[Questions, int]:
        """Those whose scene is prepared, and how many others there were.

        Raises:
            DataError: there are others, and they are not to be left out, or all are.
        """
        held = set(self.prepared.scenes())
        kept = [sample for sample in self.samples if sample.scene_id in held]
        absent = len(self.samples) - len(kept)
        if absent and (not kept or not leave_out):
            missing = next(s.scene_id for s in self.samples if s.scene_id not in held)
            cure = "" if not kept else ", or leave their questions out: --missing-scenes leave_out"
            raise DataError(
                f"{self.prepared.root}: {absent} of {len(self.samples)} questions are about scenes "
                f"that are not prepared, e.g. {missing}; prepare them{cure}"
            )
        return replace(self, samples=kept), absent


def of_files(annotations: Path, prepared: Path, benchmarks: Sequence[str], split: str) -> Questions:
    """Questions of a split of a folder of annotations.

    Raises:
        ConfigError: there is no such benchmark.
        AnnotationError: names file, record and field of what is wrong.
        DataError: the prepared scenes are not there, or nothing says which object is meant.
    """
    samples: list[Sample] = []
    for name in benchmarks:
        kind = benchmark_named(name)
        found = kind.loader().samples_of(
            find_annotations(kind, [annotations], None, split), Wording(), split
        )
        if all(sample.misses_its_box for sample in found):
            raise DataError(
                f"{annotations}: nothing points at the objects that {name} asks about: no proposal "
                f"of proposals/{split}.json overlaps one by half"
            )
        samples += found
    return Questions(samples, PreparedScenes(prepared))


def of_cell(
    workspace: Workspace, chosen: CellResult, part: Part, only: Sequence[str] | None
) -> Questions:
    """Questions of a cell, worded as it asks them, and the scenes that it prepared.

    Raises:
        ConfigError: it asks nothing of a benchmark that is wanted.
        DataError: the cell has not prepared its scenes or made its samples.
    """
    samples = read_samples(_folder(workspace, chosen, "samples") / f"{part}.jsonl")
    known = {sample.benchmark for sample in samples}
    for name in only or ():
        if name not in known:
            fault = f"the cell asks nothing of {name!r}{nearest_and_all(name, known)}"
            raise ConfigError([Fault(fault, path="--benchmarks")])
    kept = [sample for sample in samples if not only or sample.benchmark in only]
    if not kept:
        raise DataError(f"{chosen.title}: has no questions of the part {part!r}")
    prepared = PreparedScenes(_folder(workspace, chosen, "prepare"))
    protocols = chosen.params.get("benchmarks", {}).get("protocols", {})
    return Questions(kept, prepared, protocols)


def _folder(workspace: Workspace, cell: CellResult, role: str) -> Path:
    step = next((each for each in cell.steps if each.role == role), None)
    if step is None or step.output_digest is None:
        raise DataError(
            f"{cell.title} seed {cell.seed}: its step {role} has not succeeded; "
            "`workflows submit` the grid first"
        )
    return workspace.store.checkout(step.output_digest)
