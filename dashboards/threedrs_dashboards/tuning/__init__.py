"""The Tuning page: studies of `workflows tune`, their trials, what mattered, what was best.

page.py      answers the list and one study
study.py     a study as plain values
figures.py   history, importance and Pareto front
parallel.py  parallel coordinates
"""

from threedrs_dashboards.tuning.page import PAGE

__all__ = ["PAGE"]
