"""A report in the formats people paste: terminal, Markdown, LaTeX, HTML; data in CSV and JSON."""

from __future__ import annotations

import csv
import html
import io
import json
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from threedrs_components.report.data import csv_rows, report_json
from threedrs_components.report.document import Report
from threedrs_components.report.folding import fitting
from threedrs_components.report.opening import OPENING_TITLE
from threedrs_components.report.sheets import SHARED, Sheet, paragraphs, sheets

if TYPE_CHECKING:
    from rich.table import Table

Render = Callable[[Report, bool], str]
WIDE = 120
"""Columns of prose when nobody says how wide the terminal is."""
WIDEST_CELL = 34
"""Characters after which names and reasons are folded."""
UNBOUNDED = 100_000
"""Columns that no table fills."""


def render(
    report: Report,
    style: str,
    pivot: bool = False,
    width: int | None = None,
    shared: bool = True,
) -> str:
    """The report as text in one of FORMATS; width and `shared` only matter to "table"."""
    if style == "table":
        return terminal(report, pivot, width, shared)
    return FORMATS[style](report, pivot)


def terminal(
    report: Report, pivot: bool = False, width: int | None = None, shared: bool = True
) -> str:
    """Tables with rules, then headed lists, wrapped to the terminal's width.

    Args:
        report: what is shown.
        pivot: exchange rows and columns.
        width: columns of the terminal; None for as many as are needed.
        shared: list what was measured once for several cells, too; else it is only counted.
    """
    top = [bullets(OPENING_TITLE, report.opening, width)] if report.opening else []
    made = sheets(report, pivot)
    folded = [] if shared else [sheet for sheet in made if sheet.title == SHARED]
    parts = [*top, sheets_text([sheet for sheet in made if sheet not in folded], width)]
    parts += [
        f"{len(sheet.rows)} numbers {SHARED}: `workflows results --shared` shows them\n"
        for sheet in folded
    ]
    for title, lines in paragraphs(report):
        parts.append(bullets(title, lines, width))
    return "\n".join(parts)


def bullets(title: str, lines: Sequence[str], width: int | None = None) -> str:
    """A headed list for a terminal."""
    return "\n".join([title, *(_bullet(line, width or WIDE) for line in lines), ""])


def sheets_text(made: Sequence[Sheet], width: int | None = None) -> str:
    """Tables for a terminal; as wide as they need to be where no width is given."""
    texts = []
    for sheet in made:
        texts.append(sheet.title + "\n")
        for part in [sheet] if width is None else fitting(sheet, width):
            texts.append(_plain_table(part, width) or _folded_table(part, width))
        if sheet.legend:
            texts.append(textwrap.fill(sheet.legend, width or WIDE) + "\n\n")
    return "\n".join(line.rstrip() for line in "".join(texts).splitlines()) + "\n"


def _bullet(line: str, width: int) -> str:
    return textwrap.fill(
        line, width, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
    )


def _plain_table(sheet: Sheet, width: int | None) -> str:
    """A table whose cells are all shown on one line, as `_folded_table` shows it.

    Empty where a cell has to be folded, or has characters of another width than one column.
    """
    lines = [sheet.header, *sheet.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    whole = sum(widths) + 3 * len(widths) + 1
    every = "".join(map("".join, lines)).translate(_NARROW)
    is_narrow = every.isascii() and (every.isprintable() or not every)
    if not is_narrow or max(widths[1:], default=0) > WIDEST_CELL or whole > (width or UNBOUNDED):
        return ""
    padded = [
        "  " + "   ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])])
        for line in lines
    ]
    rule = " " + "─" * (whole - 2)
    return "\n".join(["", padded[0], rule, *padded[1:], "", ""])


_NARROW = dict.fromkeys(map(ord, "±°†"))
"""Beside ASCII, what stands in numbers and takes one column."""


def _folded_table(sheet: Sheet, width: int | None) -> str:
    from rich.console import Console  # a library that takes a while to import

    out = io.StringIO()
    Console(file=out, width=width or UNBOUNDED, highlight=False).print(_rich_table(sheet))
    return out.getvalue()


def _rich_table(sheet: Sheet) -> Table:
    from rich import box
    from rich.console import JustifyMethod
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for index, name in enumerate(sheet.header):
        side: JustifyMethod = "left" if index == 0 else "right"
        widest = None if index == 0 else WIDEST_CELL
        table.add_column(Text(name), justify=side, overflow="fold", max_width=widest)
    for row in sheet.rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def markdown(report: Report, pivot: bool = False) -> str:
    """GitHub-flavoured tables and lists."""
    blocks = [sheet_markdown(sheet) for sheet in sheets(report, pivot)]
    blocks += [_list_markdown(title, lines) for title, lines in paragraphs(report)]
    top = [_list_markdown(OPENING_TITLE, report.opening)] if report.opening else []
    return "\n\n".join([*top, *blocks]) + "\n"


def _list_markdown(title: str, lines: Sequence[str]) -> str:
    items = (f"- {_markdown(line)}" for line in lines)
    return "\n".join([f"**{_markdown(title)}**", "", *items])


def sheet_markdown(sheet: Sheet) -> str:
    """One table, its title above and its legend below."""
    rule = "|" + "---|" + "---:|" * (len(sheet.header) - 1)
    body = [_styled(sheet, index, _markdown, "**{}**") for index in range(len(sheet.rows))]
    rows = [[_markdown(name) for name in sheet.header], *body]
    lines = ["| " + " | ".join(cells) + " |" for cells in rows]
    table = "\n".join([f"**{_markdown(sheet.title)}**", "", lines[0], rule, *lines[1:]])
    return f"{table}\n\n{_markdown(sheet.legend)}" if sheet.legend else table


def _styled(sheet: Sheet, row: int, escape: Callable[[str], str], bold: str) -> list[str]:
    """A row's cells, escaped, the best ones in bold."""
    return [
        bold.format(escape(cell)) if (row, column) in sheet.best else escape(cell)
        for column, cell in enumerate(sheet.rows[row])
    ]


def _markdown(text: str) -> str:
    for character in "\\|*_`<":
        text = text.replace(character, f"\\{character}")
    return text.replace("\n", " ")


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "°": r"$^\circ$",
    "†": r"$^\dagger$",
}


def latex_escape(text: str) -> str:
    """Text that LaTeX prints as it stands."""
    return "".join(_LATEX.get(character, character) for character in text)


def latex(report: Report, pivot: bool = False) -> str:
    """One booktabs table per sheet and an itemize per list."""
    blocks = [sheet_latex(sheet) for sheet in sheets(report, pivot)]
    blocks += [_list_latex(title, lines) for title, lines in paragraphs(report)]
    top = [_list_latex(OPENING_TITLE, report.opening)] if report.opening else []
    return "\n\n".join(["% needs \\usepackage{booktabs}", *top, *blocks]) + "\n"


def _list_latex(title: str, lines: Sequence[str]) -> str:
    items = [rf"\item {latex_escape(line)}" for line in lines]
    head = rf"\paragraph{{{latex_escape(title)}}}"
    return "\n".join([head, r"\begin{itemize}", *items, r"\end{itemize}"])


def sheet_latex(sheet: Sheet) -> str:
    """One booktabs table with its caption."""
    body = [_styled(sheet, row, latex_escape, r"\textbf{{{}}}") for row in range(len(sheet.rows))]
    rows = [[latex_escape(name) for name in sheet.header], *body]
    lines = [" & ".join(cells) + r" \\" for cells in rows]
    caption = sheet.title + (f". {sheet.legend}" if sheet.legend else "")
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{latex_escape(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(sheet.header) - 1)}}}",
            r"\toprule",
            lines[0],
            r"\midrule",
            *lines[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


_STYLE = (
    "body{font:14px system-ui,sans-serif;margin:2em;max-width:90em}"
    "table{border-collapse:collapse;margin:1em 0}caption{text-align:left;font-weight:600}"
    "th,td{padding:.25em .7em;text-align:right;border-bottom:1px solid #ddd}"
    "th:first-child,td:first-child{text-align:left}"
)


def web_page(report: Report, pivot: bool = False) -> str:
    """A page that needs nothing beside itself."""
    run = report.table.results.run
    top = [_html_list(OPENING_TITLE, report.opening)] if report.opening else []
    parts = [*top, *(_html_table(sheet) for sheet in sheets(report, pivot))]
    parts += [_html_list(title, lines) for title, lines in paragraphs(report)]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{html.escape(run.name)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{html.escape(run.name)}</h1>{''.join(parts)}</body></html>\n"
    )


def _html_list(title: str, lines: Sequence[str]) -> str:
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<h2>{html.escape(title)}</h2><ul>{items}</ul>"


def _html_table(sheet: Sheet) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    body = "".join(row(cells, "td") for cells in sheet.rows)
    legend = f"<p>{html.escape(sheet.legend)}</p>" if sheet.legend else ""
    return (
        f"<table><caption>{html.escape(sheet.title)}</caption>"
        f"<thead>{row(sheet.header, 'th')}</thead><tbody>{body}</tbody></table>{legend}"
    )


def comma_separated(report: Report, pivot: bool = False) -> str:
    """One line per cell and metric, numbers in full precision."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(csv_rows(report))
    return out.getvalue()


def as_json(report: Report, pivot: bool = False) -> str:
    """Everything, per seed."""
    return json.dumps(report_json(report), indent=2, allow_nan=False) + "\n"


FORMATS: dict[str, Render] = {
    "table": terminal,
    "csv": comma_separated,
    "md": markdown,
    "latex": latex,
    "html": web_page,
    "json": as_json,
}
