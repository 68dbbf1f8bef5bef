"""A run as one HTML file and a folder of figures, for a paper's appendix.

__main__.py   `python -m threedrs_dashboards.appendix RUN`, which `workflows report` starts
document.py   the run's report, its figures, and the page
figures.py    which figures a run has
training.py   training curves, averaged over seeds
vector.py     any chart of the pages as PDF and SVG
"""
