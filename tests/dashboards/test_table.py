"""The ablation table: pivots, differences over seeds, the best, the paper, and its exports."""

from __future__ import annotations

import csv
import io
import math
import re
import statistics
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from threedrs_dashboards.app import create_app
from threedrs_platform.database.connection import open_database
from threedrs_platform.database.urls import file_url
from threedrs_platform.testing.fake_results import fake_results
from threedrs_platform.testing.fake_runs import store_run
from threedrs_platform.workspace import find_workspace

ACC = "scanrefer/acc@0.25"
URL = f"/table?run=run-1&metric={ACC}"


def cells_of(text: str, title: str) -> list[str]:
    """The cells of the row that begins with a title, as words."""
    body = text[text.index("<tbody>") :]
    row = next(row for row in body.split("<tr>") if f">{title}<" in row)
    return [
        re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", cell)).strip()
        for cell in re.findall(r"<td.*?</td>", row, re.DOTALL)
    ]


def rows_of(client: TestClient, url: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(client.get(url).text)))


def test_a_row_shows_mean_spread_difference_and_paper(client: TestClient) -> None:
    sizes, value = cells_of(client.get(URL + "&paper=table4").text, "vggt")
    assert re.findall(r"\d", sizes) == ["1", "3"]
    assert value.startswith("50.0 ± 1.0 +27.0 [+20.5, +33.5] *") and value.endswith("paper 62.9")


def test_the_best_mean_is_bold_and_nothing_else(client: TestClient) -> None:
    assert re.findall(r'class="best">([^<]*)<', client.get(URL).text) == ["50.0 ± 1.0"]


def test_chance_and_n_stand_below_the_cells_as_on_the_terminal(client: TestClient) -> None:
    url = "/table?run=run-1"
    foot = client.get(url).text.split("<tfoot>")[1].split("</tfoot>")[0]
    lines = [re.findall(r"<t[hd][^>]*>([^<]*)<", line) for line in foot.split("</tr>")[:-1]]
    assert lines == [["chance", "", "17.4", "-"], ["n", "", "30", "30"]]
    assert "| chance | 17.4 | - |" in client.get(url + "&format=md&paper=none").text
    assert {row["chance"] for row in rows_of(client, URL + "&csv=table")} == {"17.4"}


def test_missing_seeds_are_counted_and_absent_cells_are_missing(client: TestClient) -> None:
    text = client.get(URL + "&paper=none").text
    assert cells_of(text, "mae &lt;b&gt;")[1].startswith("30.5 ± 0.7 (2/3)")
    assert cells_of(text, "late")[1] == "missing (running, pending)"


def test_the_grid_decides_what_is_shown_first(client: TestClient) -> None:
    rows = rows_of(client, "/table?csv=table")
    assert {row["metric"] for row in rows} == {ACC, "probe/score"}
    baseline = next(row for row in rows if row["cell"] == "baseline")
    assert baseline["difference"] == ""


def test_another_baseline_turns_the_differences_around(client: TestClient) -> None:
    rows = rows_of(client, URL + "&csv=table&baseline=id-vggt")
    found = {row["cell"]: row["difference"] for row in rows}
    assert float(found["baseline"]) == -27.0 and found["vggt"] == ""


def test_grouped_cells_are_averaged_seed_by_seed(client: TestClient) -> None:
    rows = rows_of(client, URL + "&csv=table&by=teacher&over=alignment.weight")
    vggt = next(row for row in rows if row["teacher"] == "vggt")
    per_seed = [45.0, 46.0, 45.5]
    assert float(vggt["mean"]) == statistics.fmean(per_seed)
    assert math.isclose(float(vggt["sd"]), statistics.stdev(per_seed))
    assert (vggt["cells"], vggt["seeds"]) == ("2", "3")


def test_what_differs_in_a_setting_that_nobody_named_stays_apart(client: TestClient) -> None:
    rows = rows_of(client, URL + "&csv=table&by=teacher")
    vggt = [row for row in rows if row["teacher"].startswith("vggt")]
    assert len(vggt) == 2 and {row["cells"] for row in vggt} == {"1"}
    assert any("alignment.weight=3.0" in row["teacher"] for row in vggt)
    assert client.get(URL + "&by=teacher&over=weather").status_code == 404


def test_an_axis_can_be_spread_over_columns(client: TestClient) -> None:
    rows = rows_of(client, URL + "&csv=table&by=teacher&across=alignment.weight")
    found = {(row["teacher"], row["across"]): row["mean"] for row in rows}
    assert found["vggt", "1.0"] == "50.0" and found["vggt", "3.0"] == "41.0"
    assert ("none", "3.0") not in found
    papers = {(row["teacher"], row["across"]): row["paper"] for row in rows}
    assert papers["mae", "1.0"] == "59.1" and papers["vggt", "3.0"] == "62.9"
    text = client.get(URL + "&by=teacher&across=alignment.weight").text
    assert cells_of(text, "none")[2] == "-"


def test_only_cells_with_a_value_remain(client: TestClient) -> None:
    rows = rows_of(client, URL + "&csv=table&only=teacher=vggt&only=alignment.weight=3.0")
    assert [row["cell"] for row in rows] == ["vggt heavy"]
    assert float(rows[0]["difference"]) == 18.0


def test_rows_can_be_sorted_best_first(client: TestClient) -> None:
    rows = rows_of(client, URL + f"&csv=table&sort={ACC} (%25)")
    assert [row["cell"] for row in rows] == ["vggt", "vggt heavy", "mae <b>", "baseline", "late"]


def test_latex_and_markdown_hold_the_whole_table(client: TestClient) -> None:
    latex = client.get(URL + "&format=tex&paper=none")
    assert r"\textbf{50.0 $\pm$ 1.0 (+27.0 [+20.5, +33.5] *)}" in latex.text
    assert latex.headers["Content-Disposition"] == 'attachment; filename="study.tex"'
    markdown = client.get(URL + "&format=md").text
    assert "| vggt | **50.0 ± 1.0" in markdown and "Table 4" in markdown


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("metric=scanrefer/ac", "no metric"),
        ("baseline=nobody", "no cell is called"),
        ("by=colour", "do not differ in"),
        ("across=colour", "no &#39;colour&#39; here"),
        ("page=two", "no whole number"),
        ("paper=table99", "no &#39;table99&#39; here"),
    ],
)
def test_wrong_words_are_told(client: TestClient, words: str, says: str) -> None:
    answer = client.get(f"/table?run=run-1&{words}")
    assert answer.status_code == 404 and says in answer.text


def test_a_page_holds_fifty_rows_and_links_to_the_next(client: TestClient) -> None:
    assert 'rel="next"' not in client.get(URL).text
    assert client.get(URL + "&page=7").text.count('rel="prev"') == 0


def test_cells_cannot_be_chosen_by_what_they_do_not_differ_in(client: TestClient) -> None:
    answer = client.get("/table?run=run-1&only=weather=fine")
    assert answer.status_code == 404 and "do not differ in &#39;weather&#39;" in answer.text


def test_the_paper_stands_beside_rendered_rooms_for_those_only_who_ask(tmp_path: Path) -> None:
    rendered = {
        "scenes": {"kind": "micro"},
        "student": "llava",
        "students": {"llava": {"kind": "llava_video", "size": "micro", "micro": {"layers": 3}}},
        "teacher": "vggt",
        "teachers": {"vggt": {"kind": "vggt"}},
        "alignment": {"weight": 1.0},
    }
    database = open_database(file_url(tmp_path / "results.db"))
    store_run(database, fake_results({"vggt": {1: {ACC: 24.0}}}, {"vggt": rendered}))
    database.close()
    app = create_app(find_workspace(str(tmp_path), environment={}))
    client = TestClient(app, "http://127.0.0.1:8365")
    assert not any("paper" in cell for cell in cells_of(client.get(URL).text, "vggt"))
    asked = cells_of(client.get(URL + "&paper=table4").text, "vggt")
    assert any(cell.endswith("paper 62.9") for cell in asked)
    app.state.store.close()


def test_a_baseline_that_stands_in_for_the_grids_is_said(tmp_path: Path) -> None:
    grid = "version: 1\nname: study\nreport:\n  compare_to: posed\n"
    values = {name: {1: {ACC: 24.0}} for name in ("plain", "vggt")}
    database = open_database(file_url(tmp_path / "results.db"))
    store_run(database, fake_results(values), grid_yaml=grid)
    database.close()
    app = create_app(find_workspace(str(tmp_path), environment={}))
    client = TestClient(app, "http://127.0.0.1:8365")
    said = "BASELINE: posed, to which the grid compares, is not in this run; plain stands in"
    for url in (URL, f"{URL}&format=md"):
        assert said in client.get(url).text, url
    assert said not in client.get(f"{URL}&baseline=id-plain").text
    app.state.store.close()
