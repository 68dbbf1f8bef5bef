"""What the run says about the paper's claims: one sentence each, decided by the data alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Container, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from threedrs_components.metrics.comparison import ALPHA, holm
from threedrs_components.report.comparison import Difference, Family, Key
from threedrs_components.report.notation import interval, p_value, plain, signed
from threedrs_components.report.quartiles import Trend
from threedrs_components.report.roles import Role, assign_roles
from threedrs_components.report.table import ResultTable, Row, is_headline


class Verdict(StrEnum):
    """How a finding stands to the paper's."""

    AGREES = "agrees"
    AGREES_HERE = "agrees for these trained models, not shown over seeds"
    NOT_SHOWN = "not shown (no significant difference)"
    NO_FALL = "no significant fall"
    DIFFERS = "differs"
    DIFFERS_HERE = "differs for these trained models, not shown over seeds"
    UNTESTED = "not testable, fewer than three seeds and no per-scene scores"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Claim:
    """A claim of the paper: one part of the study scores above another, or no lower."""

    text: str
    subject: Role
    reference: Role
    metrics: tuple[str, ...]
    """Patterns; the first one that matches a metric of both cells decides what is tested."""
    caveat: str = ""
    no_loss: bool = False
    """The claim is that nothing is lost: without a significant fall it stands unrefuted."""


@dataclass(frozen=True)
class Finding:
    """What became of a claim."""

    claim: str
    verdict: Verdict
    evidence: str
    caveat: str = ""

    def __str__(self) -> str:
        caveat = f" Caveat: {self.caveat}." if self.caveat else ""
        return f"{self.claim}: {self.verdict}. {self.evidence}.{caveat}"


POSITION = (
    "*acc@0.25/position",
    "*acc@0.25",
    "*/f1@0.25",
    "*/em@1",
    "*accuracy*",
    "vsibench/average",
)
"""Metrics that need 3D position, cleanest first."""
ATTRIBUTES = ("*acc@0.25/attribute",)
SCORE = ("probe/score",)

CLAIMS = (
    Claim("Distilling the 3D teacher helps", Role.TEACHER_3D, Role.BASELINE, POSITION),
    Claim(
        "The 3D teacher helps more than the 2D teacher",
        Role.TEACHER_3D,
        Role.TEACHER_2D,
        POSITION,
        "the two teachers are not matched in labels, compute and width",
    ),
    Claim("The 2D teacher helps", Role.TEACHER_2D, Role.BASELINE, POSITION),
    Claim("The correspondence loss helps", Role.CORRESPONDENCE, Role.BASELINE, POSITION),
    Claim(
        "The 3D teacher helps more than the correspondence loss",
        Role.TEACHER_3D,
        Role.CORRESPONDENCE,
        POSITION,
    ),
    Claim(
        "The correspondence score rises with 3D distillation",
        Role.TEACHER_3D,
        Role.BASELINE,
        SCORE,
        "the raw score follows how alike all tokens are, so read it beside the margin",
    ),
    Claim(
        "Aligning the last layer is better than aligning an earlier one",
        Role.TEACHER_3D,
        Role.EARLIER_LAYER,
        POSITION,
        "a language model of few layers cannot settle where to align",
    ),
    Claim(
        "Distillation costs nothing in attribute grounding",
        Role.TEACHER_3D,
        Role.BASELINE,
        ATTRIBUTES,
        "a cost that the paper does not report",
        no_loss=True,
    ),
)


def claimed(table: ResultTable) -> dict[Claim, Key | None]:
    """What is to be tested for each claim whose parts are in the run; None: nothing can be.

    A run that has measured nothing to compare yet claims nothing.
    """
    if not any(is_headline(column.name) for column in table.columns):
        return {}
    roles = assign_roles(table)
    return {
        claim: _test(table, claim, roles[claim.subject], roles[claim.reference])
        for claim in CLAIMS
        if claim.subject in roles and claim.reference in roles
    }


def find(
    table: ResultTable, trends: Sequence[Trend], family: Family, shown: Container[str]
) -> list[Finding]:
    """Judge every claim between cells that are shown, by the tests of the run's family."""
    judged = [
        _judge(table, claim, None if key is None else family.differences.get(key))
        for claim, key in claimed(table).items()
        if key is None or (key[0] in shown and key[1] in shown)
    ]
    if not judged and not trends:
        return []
    quartiles = judge_trends(trends)
    return judged if quartiles is None else [*judged, quartiles]


def _test(table: ResultTable, claim: Claim, subject: Row, reference: Row) -> Key | None:
    """The first metric that is wanted and that both cells have under one seed at least."""
    for pattern in claim.metrics:
        for column in table.columns:
            if fnmatchcase(column.name, pattern):
                pair = reference.entries[column.name], subject.entries[column.name]
                if pair[0].values.keys() & pair[1].values.keys():
                    return reference.cell_id, subject.cell_id, column.name
    return None


def _judge(table: ResultTable, claim: Claim, test: Difference | None) -> Finding:
    if test is None:
        evidence = f"No metric that both cells have matches {', '.join(claim.metrics)}"
        return Finding(claim.text, Verdict.NOT_MEASURED, evidence)
    verdict = verdict_of(test)
    if verdict is Verdict.NOT_SHOWN:
        verdict = Verdict.NO_FALL if claim.no_loss else verdict
        return Finding(claim.text, verdict, evidence_of(table, test))
    return Finding(claim.text, verdict, evidence_of(table, test), claim.caveat)


def verdict_of(test: Difference) -> Verdict:
    """Significance over seeds and scenes decides; over scenes only, it holds for these models."""
    if test.both is not None and test.significant:
        rises = test.both.difference > 0
        return Verdict.AGREES if rises else Verdict.DIFFERS
    if test.over_scenes is not None and test.significant_over_scenes:
        rises = test.over_scenes.difference > 0
        return Verdict.AGREES_HERE if rises else Verdict.DIFFERS_HERE
    tested = test.corrected is not None or test.corrected_scenes is not None
    return Verdict.NOT_SHOWN if tested else Verdict.UNTESTED


def evidence_of(table: ResultTable, test: Difference) -> str:
    """Seeds, difference, intervals and tests in one clause."""
    assert test.both is not None
    unit = next(column.unit for column in table.columns if column.name == test.metric)
    whole = test.both
    parts = [f"{test.metric}: {signed(whole.difference, unit)} {interval(whole.interval, unit)}"]
    parts.append(f"{whole.seeds} paired {'seed' if whole.seeds == 1 else 'seeds'}")
    if test.corrected is not None:
        chance = "seeds and scenes" if whole.scenes else "seeds"
        parts.append(f"{p_value(test.corrected)} over {chance}")
    if test.over_scenes is not None and test.corrected_scenes is not None:
        parts.append(f"{p_value(test.corrected_scenes)} over {test.over_scenes.scenes} scenes")
    return ", ".join(part.strip() for part in parts)


_COUNTED = {
    Verdict.AGREES: "agrees with {}",
    Verdict.AGREES_HERE: "agrees with {} for these trained models only",
    Verdict.NOT_SHOWN: "shows nothing about {}",
    Verdict.NO_FALL: "finds no loss against {}",
    Verdict.DIFFERS: "contradicts {}",
    Verdict.DIFFERS_HERE: "contradicts {} for these trained models only",
    Verdict.UNTESTED: "cannot test {}",
    Verdict.NOT_MEASURED: "did not measure {}",
}


def summary(found: Sequence[Finding]) -> str:
    """One sentence: how many claims agree, differ, were not shown; each has a line of its own."""
    if not found:
        return ""
    counts = Counter(finding.verdict for finding in found)
    *first, last = [told.format(counts[v]) for v, told in _COUNTED.items() if counts[v]]
    parts = f"{', '.join(first)} and {last}" if first else last
    claims = "claim" if len(found) == 1 else "claims"
    return f"Of {len(found)} {claims} of the paper, this run {parts}."


def judge_trends(trends: Sequence[Trend]) -> Finding | None:
    """Whether the metric rises with the scenes' correspondence score, over all cells."""
    metric = next(
        (
            trend.metric
            for pattern in POSITION
            for trend in trends
            if fnmatchcase(trend.metric, pattern)
        ),
        None,
    )
    tested = [trend for trend in trends if trend.metric == metric]
    if not tested:
        return None
    corrected = holm([trend.quartiles.trend_p_value for trend in tested])
    signs = {
        math.copysign(1, trend.quartiles.trend)
        for trend, p in zip(tested, corrected, strict=True)
        if p < ALPHA
    }
    verdict, caveat = Verdict.NOT_SHOWN, ""
    if len(signs) == 1:
        verdict = Verdict.AGREES_HERE if signs == {1.0} else Verdict.DIFFERS_HERE
        caveat = "scenes that score high differ in other ways too, so this is no cause"
    parts = [
        f"{trend.title} {_quartile_means(trend)} ({p_value(p)})"
        for trend, p in zip(tested, corrected, strict=True)
    ]
    evidence = f"{metric} from the lowest quartile of scenes to the highest: {'; '.join(parts)}"
    claim = "The metric rises with the scene's correspondence score"
    return Finding(claim, verdict, evidence, caveat)


def _quartile_means(trend: Trend) -> str:
    return " ".join(plain(mean, trend.unit) for mean in trend.quartiles.means)
