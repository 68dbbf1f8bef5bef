"""The Compare page: any cells of any runs side by side, the first of them as the reference.

page.py       answers the page
arms.py       which cells a URL names, and which there are to add
beside.py     their metrics with differences, and the settings in which they differ
overlay.py    their curves in one plot
questions.py  one question, and what all of them answered
"""

from threedrs_dashboards.pages import Page, later

PATH = "/compare"
PAGE = Page("Compare", PATH, later("threedrs_dashboards.compare.page", "show"))
