"""What lmms-eval calls of an exported folder. A copy of this module runs there, without threedrs.

The scorers that travel with the folder give the numbers: all answers of a task together, once for
all its metrics, since text scores and their rarity weights are of a whole set.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import TypeAdapter

from threedrs_components.benchmarks.tally import Evaluation
from threedrs_components.benchmarks.text_answers import NO_BOX, is_read, prediction_in_words
from threedrs_components.scenes.scene_names import inside
from threedrs_platform.records import Sample

TASKS_FILE = "tasks.json"
"""Benchmark -> its scorer, protocol, metrics and documents."""
TASK_NAME = "threedrs_{}"
"""Of a benchmark, among lmms-eval's own."""
_SAMPLE = TypeAdapter(Sample)


@dataclass
class ExportedTasks:
    """The tasks of one exported folder."""

    root: Path
    _samples: dict[str, dict[str, Sample]] = field(default_factory=dict)
    _evaluated: dict[tuple[str, frozenset[tuple[str, str]]], Evaluation] = field(
        default_factory=dict
    )

    def __post_init__(self) -> None:
        self.tasks: dict[str, dict[str, Any]] = json.loads((self.root / TASKS_FILE).read_text())

    def doc_to_visual(self, doc: Mapping[str, Any]) -> list[Image.Image]:
        """The frames of the document's scene, in order.

        Raises:
            ValueError: a name leads out of the folder.
        """
        return [Image.open(inside(self.root, name)).convert("RGB") for name in doc["frames"]]

    def doc_to_text(
        self, doc: Mapping[str, Any], lmms_eval_specific_kwargs: Mapping[str, str] | None = None
    ) -> str:
        """The question, between what a model's own section of the task file says."""
        around = lmms_eval_specific_kwargs or {}
        question: str = doc["question"]
        return around.get("pre_prompt", "") + question + around.get("post_prompt", "")

    def process_results(
        self, doc: Mapping[str, Any], results: Sequence[str]
    ) -> dict[str, dict[str, Any]]:
        """For each metric the answer itself: metrics are of the whole set.

        The first has the sample, too: lmms-eval logs these, and leaves documents out of its logs.
        """
        answer = {"benchmark": doc["benchmark"], "id": doc["id"], "text": results[0]}
        names = self.tasks[doc["benchmark"]]["metrics"]
        found: dict[str, dict[str, Any]] = {name: {"metric": name, **answer} for name in names}
        found[names[0]] |= {"sample": doc["sample"], "one_box": doc["one_box"]}
        return found

    def aggregate(self, items: Sequence[Mapping[str, str]]) -> float:
        """The value of one metric; NaN where the questions that were asked do not have it."""
        benchmark, metric = items[0]["benchmark"], items[0]["metric"]
        key = (benchmark, frozenset((item["id"], item["text"]) for item in items))
        if key not in self._evaluated:
            self._evaluated[key] = self.evaluate(
                benchmark, {item["id"]: item["text"] for item in items}
            )
        return flat_metrics(self._evaluated[key]).get(metric, float("nan"))

    def evaluate(self, benchmark: str, texts: Mapping[str, str]) -> Evaluation:
        """Score answers.

        Args:
            benchmark: whose they are.
            texts: answer by the id of its question; other questions were not asked.
        """
        task, known = self.tasks[benchmark], self._samples_of(benchmark)
        samples = [known[name] for name in texts]
        module, _, name = task["scorer"].partition(":")
        scorer = getattr(importlib.import_module(module), name)(
            protocol=task["protocol"], text_metrics=tuple(task["text_metrics"])
        )
        one_box = task["one_box"]
        unread = sum(not is_read(s, texts[s.sample_id], one_box=one_box) for s in samples)
        found: Evaluation = scorer.evaluate(
            samples,
            [prediction_in_words(s, texts[s.sample_id], one_box=one_box) for s in samples],
        )
        told = [*map(str, found.unread), *found.warnings]
        told += [f"{unread} of {len(samples)} {NO_BOX}"] if unread else []
        for line in told:
            print(f"threedrs {benchmark}: {line}", file=sys.stderr)
        return found

    def _samples_of(self, benchmark: str) -> dict[str, Sample]:
        if benchmark not in self._samples:
            path = self.root / self.tasks[benchmark]["documents"]
            with path.open(encoding="utf-8") as lines:
                found = [_SAMPLE.validate_json(json.loads(line)["sample"]) for line in lines]
            self._samples[benchmark] = {sample.sample_id: sample for sample in found}
        return self._samples[benchmark]


@lru_cache
def exported_tasks(root: str) -> ExportedTasks:
    """The tasks of a folder: lmms-eval runs its `utils.py` anew for each name in a task file."""
    return ExportedTasks(Path(root))


def flat_metrics(evaluation: Evaluation) -> dict[str, float]:
    """Value by name; of a type of question `<metric>/<type>`."""
    whole = {name: metric.value for name, metric in evaluation.metrics.items()}
    return whole | {
        f"{name}/{kind}": metric.value
        for kind, metrics in evaluation.per_type.items()
        for name, metric in metrics.items()
    }
