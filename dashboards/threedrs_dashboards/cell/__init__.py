"""The Cell page: one cell under one seed, against the baseline.

page.py      answers the page
subject.py   which cell, seed and baseline a URL names
settings.py  its configuration, what differs from the baseline first
measured.py  its metrics, and a bar per question type
curves.py    its training curves, thinned by the database
samples.py   its worst and best samples
ancestry.py  the steps behind its numbers
"""

from threedrs_dashboards.cell.page import PAGE

__all__ = ["PAGE"]
