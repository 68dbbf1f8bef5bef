"""Reports: from the numbers of a run to tables, comparisons, findings and honesty notes.

table.py       cells x metrics over seeds, with what is missing
comparison.py  paired differences, over seeds and over scenes, with Holm's correction
traits.py      what a cell trains with; roles.py which part it plays (baseline, 3D teacher, ...)
findings.py    sentences about the paper's claims, each decided by the data
honesty.py     what the micro world's numbers may not be read as
quartiles.py   does a scene's correspondence score go with its metric?
paper.py       the paper's row beside a cell; beside_paper.py whole tables of them
yardstick.py   published weights beside the paper's numbers and what was trained here
document.py    all of it as one value
sheets.py      the report as plain text cells; render.py writes them in each format
data.py        the report as CSV rows and JSON values
notation.py    how numbers are written
figures.py     SVG plots
pair.py        two cells, or two runs, side by side
"""
