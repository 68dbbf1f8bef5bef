"""The Tuning page: studies of `workflows tune`, their trials, what mattered, what was best."""

from threedrs_dashboards.tuning.page import PAGE

__all__ = ["PAGE"]
