"""One cell and seed as a child run in MLflow: numbers, curves, data, tables, and the model."""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from threedrs_platform.compute.recorder import CurvePoint
from threedrs_platform.database.measurements import CellResult, RunResults, flatten
from threedrs_platform.database.results import Results
from threedrs_platform.errors import ThreedrsError
from threedrs_platform.states import StepState
from threedrs_platform.tracking.evidence import Checkpoint, Evidence
from threedrs_platform.tracking.names import (
    CELL,
    COMPLETE,
    KIND,
    LONGEST_VALUE,
    MODEL,
    NOTE,
    PARENT,
    RUN,
    SAME_AS,
    SEED,
    STATE,
    STEPS,
    WORK,
    find_runs,
    tracked_name,
)

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run
    from mlflow.tracking import MlflowClient

METRICS_PER_BATCH = 1000
PARAMS_PER_BATCH = 100
MOST_DIGEST = 36
"""MLflow refuses longer digests of data."""
MOST_MODEL_BYTES = 2 * 2**30
"""Larger models stay in the artifact store alone; the run names their digest."""

PRETRAINED = "transformers"

_Item = TypeVar("_Item")


class CellWriter:
    """Writes the cells of one submission under its parent run."""

    def __init__(
        self,
        client: MlflowClient,
        experiment: str,
        parent: str,
        results: Results,
        run: RunResults,
        evidence: Evidence,
        common_tags: Mapping[str, str],
    ) -> None:
        self._client, self._experiment, self._parent = client, experiment, parent
        self._results, self._run, self._evidence = results, run, evidence
        self._common_tags = common_tags

    def write(self, cell: CellResult) -> None:
        """Write the child run, unless it is there already and unchanged.

        A cell whose steps an earlier submission has brought here is not written in full again: it
        has its settings and final numbers, and names the run that has the rest.
        """
        identity = {RUN: self._run.run.run_id, CELL: cell.cell_id, SEED: str(cell.seed)}
        content = {WORK: _work_digest(cell), STATE: str(cell.state)}
        for found in find_runs(self._client, self._experiment, identity):
            tags = found.data.tags
            same = all(tags.get(key) == value for key, value in content.items())
            if same and tags.get(COMPLETE) == "true":
                return
            self._delete(found)
        original = self._original(cell, content)
        run_id = self._begin(cell, identity | content, original)
        if original is None:
            self._write_rest(cell, run_id)
        self._client.set_tag(run_id, COMPLETE, "true")
        self._client.set_terminated(run_id, _STATUS[cell.state])

    def begin_live(self, cell: CellResult) -> str:
        """Create the child run of a cell that is still worked on; `write` replaces it at its end.

        Returns: its id in MLflow.
        """
        identity = {RUN: self._run.run.run_id, CELL: cell.cell_id, SEED: str(cell.seed)}
        for found in find_runs(self._client, self._experiment, identity):
            self._delete(found)  # left by a tracker that died, or of an attempt before this one
        return self._begin(cell, {**identity, STATE: str(cell.state)}, None)

    def log_live(self, run_id: str, role: str, points: Sequence[CurvePoint]) -> None:
        """Add curve points that a running step has reported."""
        self._log_metrics(run_id, [self._point(role, point) for point in points])

    def _original(self, cell: CellResult, content: Mapping[str, str]) -> Run | None:
        """The run of another submission that has all there is to know of the same work."""
        if cell.state is not StepState.SUCCEEDED:
            return None
        wanted = {**content, SEED: str(cell.seed), COMPLETE: "true"}
        found = find_runs(self._client, self._experiment, wanted)
        return next((run for run in found if SAME_AS not in run.data.tags), None)

    def _begin(self, cell: CellResult, tags: dict[str, str], original: Run | None) -> str:
        """Create the child run with its tags, note, settings and final numbers."""
        note = self._evidence.cell_note(self._run, cell)
        if original is not None:
            tags |= {SAME_AS: original.info.run_id}
            if MODEL in original.data.tags:
                tags |= {MODEL: original.data.tags[MODEL]}
            note = f"{_pointer(self._experiment, original)}\n\n{note}"
        tags |= {**self._evidence.cell_tags(cell), **self._common_tags}
        tags |= {KIND: "cell", PARENT: self._parent, STEPS: _steps_text(cell)}
        tags |= {"threedrs.cell_name": cell.name} | ({NOTE: note} if note else {})
        begin = self._begin_ms
        name = f"{cell.title} seed {cell.seed}"
        cut = {key: value[:LONGEST_VALUE] for key, value in tags.items()}
        run_id = str(self._client.create_run(self._experiment, begin, cut, name).info.run_id)
        self._log_params(run_id, {**flatten(cell.params), "seed": cell.seed})
        self._log_metrics(run_id, list(self._final(cell)))
        return run_id

    def _write_rest(self, cell: CellResult, run_id: str) -> None:
        """Write the curves, and for a cell that has succeeded its data, tables and model."""
        self._log_metrics(run_id, list(self._curves(cell)))
        config = json.dumps(dict(cell.params), indent=2, sort_keys=True)
        self._client.log_text(run_id, config, "config.json")
        if cell.state is StepState.SUCCEEDED:
            try:
                self._log_datasets(cell, run_id)
                for name, table in self._evidence.tables(cell):
                    self._client.log_table(run_id, dict(table), name)
                self._log_model(cell, run_id)
            except ThreedrsError as error:  # an artifact is gone: the numbers are still true
                self._client.set_tag(run_id, "threedrs.left_out", str(error)[:LONGEST_VALUE])

    @property
    def _begin_ms(self) -> int:
        return int(self._run.run.created_at * 1000)

    def _log_params(self, run_id: str, params: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        entities = [
            Param(tracked_name(key), _text(value)[:LONGEST_VALUE]) for key, value in params.items()
        ]
        for batch in _batches(entities, PARAMS_PER_BATCH):
            self._client.log_batch(run_id, params=batch)

    def _log_metrics(self, run_id: str, metrics: Sequence[Metric]) -> None:
        for batch in _batches(metrics, METRICS_PER_BATCH):
            self._client.log_batch(run_id, metrics=batch)

    def _final(self, cell: CellResult) -> Iterator[Metric]:
        """The numbers of a cell; times are fixed by the run, so that a repetition changes none."""
        from mlflow.entities import Metric

        for name, measurement in cell.measurements.items():
            yield Metric(tracked_name(name), measurement.metric.value, self._begin_ms, 0)

    def _curves(self, cell: CellResult) -> Iterator[Metric]:
        """Curves over training steps."""
        for step in cell.steps:
            for point in self._results.curves(step.key):
                yield self._point(step.role, point)

    def _point(self, role: str, point: CurvePoint) -> Metric:
        from mlflow.entities import Metric

        name = tracked_name(f"{role}/{point.name}")
        # A time of its own for each step: MLflow sorts a curve by time, too.
        return Metric(name, point.value, self._begin_ms + point.step, point.step)

    def _log_datasets(self, cell: CellResult, run_id: str) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = [
            DatasetInput(
                Dataset(
                    name=facts.name,
                    digest=facts.digest[:MOST_DIGEST],
                    source_type="threedrs",
                    source=json.dumps({"uri": facts.source}),
                    profile=json.dumps(dict(facts.profile)),
                ),
                [InputTag("mlflow.data.context", facts.context)],
            )
            for facts in self._evidence.datasets(cell)
        ]
        if inputs:
            self._client.log_inputs(run_id, inputs)

    def _log_model(self, cell: CellResult, run_id: str) -> None:
        """The checkpoint as a logged model: a plain folder that the student is loaded from.

        Its subfolder `transformers` holds what `from_pretrained` reads.
        """
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        checkpoint = self._evidence.checkpoint(cell)
        if checkpoint is None:
            return
        self._client.set_tag(run_id, "threedrs.checkpoint", checkpoint.digest)
        if _size(checkpoint) > MOST_MODEL_BYTES:
            return
        model = self._client.create_logged_model(
            self._experiment,
            name=re.sub(r"[^\w-]", "_", f"{cell.title} seed {cell.seed}"),
            source_run_id=run_id,
            tags={CELL: cell.cell_id, SEED: str(cell.seed), "digest": checkpoint.digest},
            model_type=checkpoint.kind,
        )
        self._client.log_model_artifacts(model.model_id, str(checkpoint.folder))
        if checkpoint.write_pretrained is not None:
            with tempfile.TemporaryDirectory() as place:
                checkpoint.write_pretrained(Path(place) / PRETRAINED)
                self._client.log_model_artifacts(model.model_id, place)
        self._client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        self._client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        self._client.set_tag(run_id, MODEL, model.model_id)

    def _delete(self, run: Run) -> None:
        """Throw away a run that is to be written anew, with the model that it made."""
        mine = f"source_run_id = '{run.info.run_id}'"
        for model in self._client.search_logged_models([self._experiment], mine):
            self._client.delete_logged_model(model.model_id)
        self._client.delete_run(run.info.run_id)


_STATUS = {
    StepState.SUCCEEDED: "FINISHED",
    StepState.FAILED: "FAILED",
    StepState.BLOCKED: "FAILED",
    StepState.CANCELLED: "KILLED",
}


def _pointer(experiment: str, original: Run) -> str:
    link = f"#/experiments/{experiment}/runs/{original.info.run_id}"
    return f"Nothing was computed anew: curves, tables and the model are in [this run]({link})."


def _work_digest(cell: CellResult) -> str:
    return hashlib.sha256(_steps_text(cell).encode()).hexdigest()[:16]


def _steps_text(cell: CellResult) -> str:
    return json.dumps({step.role: step.key[:16] for step in cell.steps}, sort_keys=True)


def _size(checkpoint: Checkpoint) -> int:
    return sum(path.stat().st_size for path in checkpoint.folder.rglob("*") if path.is_file())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _batches(items: Sequence[_Item], size: int) -> Iterator[Sequence[_Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
