"""Which metrics a page is to show: those of the query string, else those the grid file asks for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from starlette.requests import Request

from threedrs_components.report.table import reported_metrics
from threedrs_dashboards import query
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import ConfigError, Fault

HEADLINES = ("scanrefer/acc@0.25", "scanqa/em@1")
"""Metrics to begin with, where a run has them and its grid asks for none."""


def chosen_metrics(
    request: Request, names: Sequence[str], wanted: Sequence[str] = ()
) -> tuple[str, ...]:
    """The metrics of `?metric=` (repeated), else those the grid wants, else the headlines.

    Raises:
        ConfigError: a name of the query string is no metric of this run.
    """
    asked = query.several(request, "metric")
    for name in asked:
        if name not in names and name not in wanted:  # what the grid reports may be yet to come
            raise ConfigError([Fault(f"no metric {name!r}{did_you_mean(name, names)}", "metric")])
    if asked:
        return asked
    return reported_metrics(names, wanted)


def first_of(names: Iterable[str], wanted: Sequence[str]) -> list[str]:
    """Names, those that are wanted first."""
    return sorted(names, key=lambda name: wanted.index(name) if name in wanted else len(wanted))
