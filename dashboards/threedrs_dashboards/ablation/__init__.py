"""The Ablation table page: pivot a run by its axes, compare with the baseline and the paper.

page.py        answers the page and its exports
choices.py     what the query string asks for
axes.py        what the cells of a run differ in
pivot.py       cells grouped into rows and columns, averaged seed by seed
paper_rows.py  the paper's numbers beside them
means.py       one metric as bars
sheet.py       the table as text, for LaTeX, Markdown and CSV
"""

from threedrs_dashboards.ablation.page import PAGE

__all__ = ["PAGE"]
