"""What the run says about the paper's claims: one sentence each, decided by the data alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase

from threedrs_components.metrics.comparison import ALPHA, holm
from threedrs_components.report.comparison import (
    Difference,
    compare_metric,
    correct,
)
from threedrs_components.report.notation import interval, p_value, plain, signed
from threedrs_components.report.quartiles import Trend
from threedrs_components.report.roles import Role, assign_roles
from threedrs_components.report.table import ResultTable, Row, is_headline
from threedrs_platform.database.measurements import SceneTotals


class Verdict(StrEnum):
    """How a finding stands to the paper's."""

    AGREES = "agrees"
    AGREES_HERE = "agrees for these trained models, not shown over seeds"
    NOT_SHOWN = "not shown (no significant difference)"
    NO_FALL = "no significant fall"
    DIFFERS = "differs"
    DIFFERS_HERE = "differs for these trained models, not shown over seeds"
    UNTESTED = "not testable, one seed and no per-scene scores"
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


def find(
    table: ResultTable, trends: Sequence[Trend] = (), totals: SceneTotals | None = None
) -> list[Finding]:
    """Judge every claim whose parts are in the run; p values corrected across these claims.

    A run that has measured nothing to compare yet makes no findings.
    """
    if not any(is_headline(column.name) for column in table.columns):
        return []
    roles = assign_roles(table)
    present = [claim for claim in CLAIMS if claim.subject in roles and claim.reference in roles]
    tests = [
        _test(table, claim, roles[claim.subject], roles[claim.reference], totals)
        for claim in present
    ]
    corrected = iter(correct([test for test in tests if test is not None]))
    judged = [
        _judge(table, claim, None if test is None else next(corrected))
        for claim, test in zip(present, tests, strict=True)
    ]
    quartiles = judge_trends(trends)
    return judged if quartiles is None else [*judged, quartiles]


def _test(
    table: ResultTable, claim: Claim, subject: Row, reference: Row, totals: SceneTotals | None
) -> Difference | None:
    for pattern in claim.metrics:
        for column in table.columns:
            if fnmatchcase(column.name, pattern):
                found = compare_metric(
                    table, reference.cell_id, subject.cell_id, column.name, totals
                )
                if found is not None and found.over_seeds is not None:
                    return found
    return None


def _judge(table: ResultTable, claim: Claim, test: Difference | None) -> Finding:
    if test is None:
        evidence = f"no metric that both cells have matches {', '.join(claim.metrics)}"
        return Finding(claim.text, Verdict.NOT_MEASURED, evidence)
    verdict = verdict_of(test)
    if verdict is Verdict.NOT_SHOWN:
        verdict = Verdict.NO_FALL if claim.no_loss else verdict
        return Finding(claim.text, verdict, evidence_of(table, test))
    return Finding(claim.text, verdict, evidence_of(table, test), claim.caveat)


def verdict_of(test: Difference) -> Verdict:
    """Significance over seeds decides; over scenes only, it is said to hold for these models."""
    if test.over_seeds is not None and test.significant:
        rises = test.over_seeds.difference > 0
        return Verdict.AGREES if rises else Verdict.DIFFERS
    if test.over_scenes is not None and test.significant_over_scenes:
        rises = test.over_scenes.difference > 0
        return Verdict.AGREES_HERE if rises else Verdict.DIFFERS_HERE
    tested = test.corrected is not None or test.corrected_scenes is not None
    return Verdict.NOT_SHOWN if tested else Verdict.UNTESTED


def evidence_of(table: ResultTable, test: Difference) -> str:
    """Seeds, difference, intervals and tests in one clause."""
    assert test.over_seeds is not None
    unit = next(column.unit for column in table.columns if column.name == test.metric)
    pairs = test.over_seeds
    parts = [f"{test.metric}: {signed(pairs.difference, unit)} {interval(pairs.interval, unit)}"]
    parts.append(f"{pairs.n} paired {'seed' if pairs.n == 1 else 'seeds'}")
    if test.corrected is not None:
        parts.append(f"{p_value(test.corrected)} over seeds")
    if test.over_scenes is not None and test.corrected_scenes is not None:
        parts.append(f"{p_value(test.corrected_scenes)} over {test.over_scenes.scenes} scenes")
    return ", ".join(part.strip() for part in parts)


def summary(found: Sequence[Finding]) -> str:
    """One paragraph: which claims agree, differ, were not shown, in this order."""
    parts = []
    for verdict in Verdict:
        claims = [finding.claim for finding in found if finding.verdict is verdict]
        if claims:
            parts.append(f"{verdict.capitalize()}: {'; '.join(claims)}.")
    return " ".join(parts)


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
