"""The Correspondence page: does seeing the same place alike go with better answers?

page.py     answers the page
choices.py  what the query string asks for
scores.py   sums of per-sample scores, made by the database
study.py    distributions, gains and quartiles of the cells shown
figures.py  plots of them
"""

from threedrs_dashboards.correspondence.page import PAGE

__all__ = ["PAGE"]
