"""VSI-Bench's scorer: accuracy of choices, relative accuracy of numbers, mean of the tasks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from threedrs_components.benchmarks.clip_scores import NestedMeans, answer_values, first_number
from threedrs_components.benchmarks.scorer import Scorer
from threedrs_components.benchmarks.tally import Evaluation, Tally, pair_predictions
from threedrs_components.benchmarks.unread_choices import say_unread_choices
from threedrs_components.benchmarks.vsibench.questions import (
    DIRECTIONS,
    KINDS_OF,
    NUMERIC,
    TASK_OF,
)
from threedrs_components.metrics.relative_accuracy import number_in_text
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Metric, Prediction, Sample

SOURCES = ("arkitscenes", "scannet", "scannetpp")
"""Data sets whose videos VSI-Bench asks about."""


class VSIBenchScorer(Scorer):
    """Scores VSI-Bench."""

    kind: Literal["vsibench"] = "vsibench"

    def evaluate(self, samples: Sequence[Sample], predictions: Sequence[Prediction]) -> Evaluation:
        """The mean of each task, and the average of the tasks; a missing prediction scores 0.

        Relative direction is the mean of its three levels, not of its questions. Where questions
        come from several data sets, each has its average and its missing answers, too.
        """
        paired = pair_predictions(samples, predictions)
        number = first_number if self.protocol == "official" else number_in_text
        values = answer_values(samples, paired, NUMERIC, number)
        means = _Means(samples, values, self.protocol)
        if self.protocol == "lmms_eval":
            means.need_all_directions()
        tally = Tally(self.kind, self.protocol, samples)
        tally.warnings += means.warnings()
        means.fill(tally)
        self._add_sources(tally, paired, values)
        say_unread_choices(tally, paired, NUMERIC, number)
        return tally.evaluation(paired)

    def _add_sources(
        self, tally: Tally, paired: Sequence[Prediction | None], values: NDArray[np.float64]
    ) -> None:
        rows: dict[str, list[int]] = defaultdict(list)
        for row, sample in enumerate(tally.samples):
            rows[sample.tags.get("dataset") or "unnamed"].append(row)
        tally.warnings += _absent_sources(rows)
        for source, found in rows.items() if len(rows) > 1 else ():
            own = [tally.samples[row] for row in found]
            missing = sum(paired[row] is None for row in found)
            tally.per_type[source] = {
                "average": _Means(own, values[found], self.protocol).average(f"/{source}"),
                "missing": Metric(
                    f"{self.kind}/missing/{source}", missing, len(found), unit="samples"
                ),
            }
            if missing == len(found) and any(paired):
                tally.warnings.append(
                    f"no question of {source} has a prediction; its {missing} count as wrong in "
                    "the average, see the averages by source"
                )


def _absent_sources(given: Collection[str]) -> list[str]:
    """Say it where only some of the data sets of VSI-Bench are asked about."""
    absent = [name for name in SOURCES if name not in given]
    if not absent or len(absent) == len(SOURCES):
        return []
    return [f"no question is about {' or '.join(absent)}: the average is not that of VSI-Bench"]


class _Means(NestedMeans):
    """Of VSI-Bench's tasks, as a protocol forms them."""

    def __init__(
        self, samples: Sequence[Sample], values: NDArray[np.float64], protocol: str
    ) -> None:
        super().__init__("vsibench", samples, values, KINDS_OF, NUMERIC)
        self._digits = 6 if protocol == "lmms_eval" else None
        if protocol == "official" and DIRECTIONS[0] not in self.rows:
            # thinking-in-space joins the three levels only where it finds the first.
            joined = self.tasks.pop(TASK_OF[DIRECTIONS[0]], [])
            self.tasks |= {kind: [kind] for kind in joined}

    def rounded(self, mean: float) -> float:
        """lmms-eval keeps six digits."""
        return mean if self._digits is None else round(mean, self._digits)

    def need_all_directions(self) -> None:
        """Newer lmms-eval cannot do without one of the three levels."""
        for kind in DIRECTIONS:
            if kind not in self.rows:
                reason = f"protocol lmms_eval needs all three direction types; there is no {kind}"
                raise AnnotationError("annotations", "-", "question_type", reason)

    def warnings(self) -> list[str]:
        """What the absence of some levels of relative direction does to the average."""
        there = [kind for kind in DIRECTIONS if kind in self.rows]
        absent = " and ".join(kind for kind in DIRECTIONS if kind not in there)
        if not there or not absent:
            return []
        if DIRECTIONS[0] not in there:
            effect = "each other level is a task of its own in the average, as in thinking-in-space"
        else:
            effect = "relative direction is the mean of those there; thinking-in-space stops here"
        return [f"there is no {absent}: {effect}"]
