"""The Runs page: all submissions with their cost, and one of them as it goes.

page.py     answers both views
costs.py    CPU and GPU hours, by run and by kind of step
marks.py    what tells runs apart: flags, note, commit, headline
mlflow.py   links to MLflow's pages
matrix.py   cells x steps, one page of cells at a time
"""

from threedrs_dashboards.runs.page import PAGE

__all__ = ["PAGE"]
