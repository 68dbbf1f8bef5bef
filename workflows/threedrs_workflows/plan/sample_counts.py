"""How many samples a cell trains on and answers: counted where that is possible before it runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from threedrs_components.benchmarks.published_counts import (
    EVALUATED,
    TRAINED,
    SampleCount,
)
from threedrs_components.benchmarks.sample_files import read_samples
from threedrs_platform.errors import ThreedrsError
from threedrs_platform.identity.canonical import canonical_json
from threedrs_platform.identity.file_digests import UNHASHED
from threedrs_platform.identity.recipes import sha256_text
from threedrs_platform.records import Sample
from threedrs_platform.storage import keep_memo, read_json_cache
from threedrs_platform.workspace import Workspace
from threedrs_workflows.experiment import Experiment
from threedrs_workflows.plan.annotation_records import annotated_scenes
from threedrs_workflows.plan.plan import PlannedStep

COUNTED, PUBLISHED = "counted", "published counts"


@dataclass(frozen=True)
class DataSet:
    """One benchmark as a cell reads it; None where nobody knows."""

    name: str
    split: str
    samples: int | None
    scenes: int | None
    source: str


@dataclass(frozen=True)
class CellData:
    """What a cell trains on and answers."""

    trained: tuple[DataSet, ...]
    evaluated: tuple[DataSet, ...]
    scenes: int | None
    """That are prepared, and that a teacher looks at."""

    @property
    def samples(self) -> int | None:
        """Training samples, None if one data set is unknown."""
        counts = [each.samples for each in self.trained]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None


class SampleCounter:
    """Counts once per `samples` step, and remembers it in the workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._store = workspace.store
        self._file = workspace.root / "cache" / "samples.json"
        self._is_kept = workspace.is_kept
        self._known = read_json_cache(self._file)

    def data(self, experiment: Experiment, step: PlannedStep) -> CellData:
        """What a cell reads, by its step that makes samples."""
        counts = self._counts(experiment, step)
        config, share = experiment.benchmarks, 1 - experiment.held_out
        real = experiment.scenes.kind == "scannet"

        def data_set(name: str, split: str, form: str, published: SampleCount | None) -> DataSet:
            count, source = counts.get(f"{form}/{name}"), COUNTED
            if count is None and real and published is not None:
                scale = share if form == "train" else 1.0
                count, source = published, PUBLISHED
                count = SampleCount(round(count.samples * scale), round(count.scenes * scale))
            if count is None:
                return DataSet(name, split, None, None, "not known before it is made")
            return DataSet(name, split, count.samples, count.scenes, source)

        trained = (data_set(n, "train", "train", TRAINED.get(n)) for n in config.trained())
        evaluated = (
            data_set(n, config.split_of(n), "evaluation", EVALUATED.get((n, config.split_of(n))))
            for n in config.names
        )
        return CellData(tuple(trained), tuple(evaluated), _scenes(experiment))

    def _counts(self, experiment: Experiment, step: PlannedStep) -> dict[str, SampleCount]:
        key = step.output_digest or sha256_text(canonical_json(dict(step.spec.params)))
        if key not in self._known:
            try:
                found = self._from_artifact(step) if step.hit else _from_annotations(experiment)
            except (ThreedrsError, OSError):  # a plan tells what it can; the step tells the fault
                return {}
            if not found:
                return {}
            if UNHASHED in canonical_json(dict(step.spec.params)):
                return found  # the key does not say of which content
            self._known[key] = {name: asdict(count) for name, count in found.items()}
            if self._is_kept:
                keep_memo(self._file, json.dumps(self._known).encode())
        return {name: SampleCount(**count) for name, count in self._known[key].items()}

    def _from_artifact(self, step: PlannedStep) -> dict[str, SampleCount]:
        assert step.output_digest is not None
        folder = self._store.checkout(step.output_digest)
        return {
            f"{form}/{name}": count
            for form in ("train", "evaluation")
            for name, count in _tally(read_samples(folder / f"{form}.jsonl")).items()
        }


def _from_annotations(experiment: Experiment) -> dict[str, SampleCount]:
    """Training samples of annotation files that are here; nothing where they come with scenes."""
    config = experiment.benchmarks
    if config.annotations is None or experiment.held_out:
        return {}
    folder = config.places().folder(Path(config.annotations), oracle=True)
    return {
        f"train/{name}": count
        for name in config.trained()
        for count in _tally(config.loader(name).samples(folder, config.wording(), "train")).values()
    }


def _tally(samples: Iterable[Sample]) -> Mapping[str, SampleCount]:
    counts: dict[str, int] = {}
    scenes: dict[str, set[str]] = {}
    for sample in samples:
        counts[sample.benchmark] = counts.get(sample.benchmark, 0) + 1
        scenes.setdefault(sample.benchmark, set()).add(sample.scene_id)
    return {name: SampleCount(count, len(scenes[name])) for name, count in counts.items()}


def _scenes(experiment: Experiment) -> int | None:
    """Scenes that annotations of the trained and evaluated splits name."""
    scenes, benchmarks = experiment.scenes, experiment.benchmarks
    if (named := annotated_scenes(experiment)) is not None:
        return len(named)
    if scenes.kind == "scannet":
        # Benchmarks of one split share its scenes.
        trained = [TRAINED.get(name) for name in benchmarks.trained()]
        evaluated = [EVALUATED.get((name, benchmarks.split_of(name))) for name in benchmarks.names]
        known = [
            max((each.scenes for each in part if each), default=0) for part in (trained, evaluated)
        ]
        return sum(known) if all(known) else None
    if scenes.kind == "micro":
        return scenes.train + scenes.val
    return None
