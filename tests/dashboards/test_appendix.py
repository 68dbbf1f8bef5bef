"""The report of a run: one file that needs nothing beside it, figures that any editor takes."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from sqlalchemy import update

from threedrs_components.report.document import SMOKE, make_report
from threedrs_components.report.table import Column, Entry
from threedrs_dashboards.ablation.means import means_chart
from threedrs_dashboards.appendix.__main__ import main
from threedrs_dashboards.appendix.document import make_appendix, write_appendix
from threedrs_dashboards.appendix.vector import write_figure
from threedrs_dashboards.charts import Chart
from threedrs_dashboards.store import Store
from threedrs_dashboards.tables import Table
from threedrs_dashboards.testing.tiny_run import BASELINE, RUN, TAUGHT
from threedrs_platform.database.schema import runs
from threedrs_platform.testing.fake_results import fake_results
from threedrs_platform.testing.fake_runs import store_run
from threedrs_platform.workspace import find_workspace

MEAN = "mean-scanrefer-acc_at_0.25"


@pytest.fixture
def folder(workspace: Path, database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    store = Store(find_workspace(str(workspace), database_url, environment={}))
    write_appendix(make_appendix(store, "run-1"), out)
    store.close()
    return out


def test_the_page_needs_nothing_beside_itself(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = text[: text.index("<script>")]
    assert "src=" not in page and "<link" not in page and 'href="http' not in page
    assert text.count("plotly.js v") == 1 and text.rstrip().endswith("</html>")
    assert "mae &lt;b&gt;" in page and "Traceback <script>" not in page


def test_every_figure_is_there_as_pdf_svg_and_data(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    names = re.findall(r'<figure class="chart" id="([^"]+)"', text)
    assert MEAN in names and "training-loss" in names
    for name in names:
        assert (folder / f"figures/{name}.pdf").read_bytes().startswith(b"%PDF")
        assert ElementTree.parse(folder / f"figures/{name}.svg").getroot().tag.endswith("svg")
        assert (folder / f"figures/{name}.csv").stat().st_size > 10


def test_figures_show_the_runs_numbers(folder: Path) -> None:
    with (folder / f"figures/{MEAN}.csv").open(encoding="utf-8") as file:
        rows = {row["cell"]: row for row in csv.DictReader(file)}
    assert rows["vggt"]["mean"] == "50.0" and rows["mae <b>"]["seeds"] == "2"
    svg = (folder / f"figures/{MEAN}.svg").read_text(encoding="utf-8")
    assert "vggt heavy" in svg


def test_chance_is_a_line_across_the_bars_of_a_figure(tmp_path: Path) -> None:
    rows = [("a", Entry({1: 1.0, 2: 2.0}, 2)), ("b", Entry({1: 3.0, 2: 4.0}, 2))]
    drawn = []
    for chance in (None, 1.5):
        column = Column("acc", "%", (10,), chance, None)
        chart = means_chart(f"mean-{chance}", "acc (%)", column, rows)
        drawn.append(write_figure(chart, tmp_path)[1].read_text().count("stroke-dasharray"))
    assert drawn == [0, 1]


def test_the_page_carries_verdicts_and_the_grid(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "Table 4 of the paper" in text and "Beside the paper" in text
    assert "Against the baseline" in text and "compare_to: baseline" in text
    assert r"\toprule" in (folder / "tables.tex").read_text(encoding="utf-8")


def test_the_same_data_give_the_same_figure(tmp_path: Path) -> None:
    bars = {"type": "bar", "name": "b", "x": ["a", "b"], "y": [1.0, None]}
    line = {"type": "scatter", "mode": "lines+markers", "name": "l", "x": ["a", "b"], "y": [2, 3]}
    chart = Chart("figure", "A figure", [bars, line], Table(("x",), []))
    first = [file.read_bytes() for file in write_figure(chart, tmp_path)]
    assert first == [file.read_bytes() for file in write_figure(chart, tmp_path)]


def test_the_command_prints_its_files_or_its_fault(
    workspace: Path, database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--workspace", str(workspace), "--db", database_url, "--out", str(tmp_path / "out")]
    assert main(["run-1", *words]) == 0
    files = json.loads(capsys.readouterr().out)["files"]
    assert str(tmp_path / "out" / "report.html") in files
    assert main(["run-7", *words]) == 2
    assert "did you mean 'run-1'" in capsys.readouterr().err


def test_the_layer_map_is_in_the_page_and_beside_it(
    workspace: Path, database_url: str, tmp_path: Path
) -> None:
    store = Store(find_workspace(str(workspace), database_url, environment={}))
    appendix = make_appendix(store, "run-1")
    store.close()
    numbers = {"probe/at/tower/depth": 0.5, "probe/at/-1/depth": 0.25}
    probed = make_report(fake_results({"one <b>": {1: numbers}, "two": {1: numbers}}))
    report = replace(appendix.report, layer_map=probed.layer_map)
    write_appendix(replace(appendix, report=report, charts=()), tmp_path)
    assert (tmp_path / "figures/layer_map.pdf").read_bytes().startswith(b"%PDF")
    assert len((tmp_path / "figures/layer_map.csv").read_text().splitlines()) == 1 + 2 * 2
    picture = (tmp_path / "figures/layer_map.svg").read_text(encoding="utf-8")
    assert "one &lt;b&gt;, probed at tower: 0.5" in picture
    assert picture.strip() in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_contents_lead_to_what_is_there(folder: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    contents = text[text.index('aria-label="Contents"') : text.index("</nav>")]
    targets = re.findall(r'href="#([^"]+)"', contents)
    assert {"table-1", "figures", "grid"} <= set(targets)
    assert all(f'id="{target}"' in text for target in targets)


def test_the_score_before_and_after_has_the_difference_of_the_table(
    tiny_root: Path, tmp_path: Path
) -> None:
    store = Store(find_workspace(str(tiny_root), environment={}))
    appendix = make_appendix(store, RUN)
    write_appendix(appendix, tmp_path)
    store.close()
    known = {cell: each for (cell, name), each in appendix.report.differences.items()
             if name == "probe/score" and each.both is not None}  # fmt: skip
    with (tmp_path / "figures/gain.csv").open(encoding="utf-8") as file:
        rows = [*csv.DictReader(file)]
    assert rows
    for row in rows:
        both = known[row["cell_id"]].both
        assert both is not None and float(row["difference"]) == pytest.approx(both.difference)


def test_examples_are_shown_with_boxes_in_frames(tiny_root: Path, tmp_path: Path) -> None:
    store = Store(find_workspace(str(tiny_root), environment={}))
    write_appendix(make_appendix(store, RUN), tmp_path)
    store.close()
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    shown = text[text.index('<h2 id="examples">') : text.index('<h2 id="figures">')]
    assert shown.count("<h3>") == 3 and "not by their answers" in shown
    assert 'class="box true"' in shown and "data:image/png;base64," in shown
    assert BASELINE in shown and TAUGHT in shown


def test_the_report_of_a_smoke_run_judges_nothing(tmp_path: Path) -> None:
    values = {
        "baseline": {1: {"scanrefer/acc@0.25": 20.0}},
        "vggt": {1: {"scanrefer/acc@0.25": 50.0}},
    }
    taught = {"teacher": "3d", "teachers": {"3d": {"kind": "vggt"}}, "alignment": {"weight": 3.0}}
    results = fake_results(values, {"baseline": {"teacher": "none"}, "vggt": taught})
    with find_workspace(str(tmp_path), environment={}) as workspace:
        store_run(workspace.database, results)
        assert make_appendix(Store(workspace), "run-1").report.findings
        with workspace.database.write() as connection:
            connection.execute(update(runs).values(options_json=json.dumps({"smoke": True})))
        report = make_appendix(Store(workspace), "run-1").report
    assert not report.findings and report.opening == (SMOKE,)
