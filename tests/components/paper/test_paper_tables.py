from __future__ import annotations

import json

import pytest

from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.paper.tables import TABLES_FILE, paper_table, paper_tables
from threedrs_platform.errors import ConfigError


def test_all_thirteen_tables_and_their_116_rows_are_there() -> None:
    assert list(paper_tables()) == [f"table{number}" for number in range(1, 14)]
    assert sum(len(table.rows) for table in paper_tables().values()) == 116


def test_every_metric_is_of_a_benchmark_that_exists() -> None:
    named = {metric for table in paper_tables().values() for metric in table.metrics}
    assert {metric.split("/")[0] for metric in named} <= set(BENCHMARKS)


def test_the_main_row_is_the_same_wherever_the_paper_repeats_it() -> None:
    main = paper_table("table1").rows[-1].cells
    for name, row in {"table3": 1, "table4": 5, "table5": 2, "table6": 0, "table12": 0}.items():
        cells = paper_table(name).rows[row].cells
        assert {metric: cell.value for metric, cell in cells.items()} == {
            metric: main[metric].value for metric in cells
        }


@pytest.mark.parametrize("benchmark", ["scanrefer/acc", "multi3drefer/f1"])
def test_the_stricter_threshold_never_wins_but_in_the_cell_that_is_marked(benchmark: str) -> None:
    wrong = []
    for table in paper_tables().values():
        for row in table.rows:
            for metric, cell in row.cells.items():
                strict = row.cells.get(metric.replace("@0.25", "@0.5"))
                if not metric.startswith(f"{benchmark}@0.25") or strict is None:
                    continue
                if None not in (cell.value, strict.value) and cell.value < strict.value:  # type: ignore[operator]
                    wrong.append((table.name, row.method, cell.standing))
    marked = [("table6", "10th Last Layer", "disputed")]
    assert wrong == (marked if benchmark == "multi3drefer/f1" else [])


def test_a_repaired_cell_says_what_is_printed_and_why() -> None:
    m3dref = next(row for row in paper_table("table1").rows if row.method == "M3DRef-CLIP")
    moved, left = m3dref.cells["multi3drefer/f1@0.5"], m3dref.cells["scan2cap/cider@0.5"]
    assert (moved.value, moved.printed, moved.mark) == (38.4, None, "†")
    assert (left.value, left.printed) == (None, 38.4)
    assert "Table 8" in moved.why


def test_the_rows_of_table_5_are_in_one_order() -> None:
    baseline = paper_table("table5").rows[0].cells
    assert baseline["scanrefer/acc@0.25"].value == 58.1
    assert baseline["scanrefer/acc@0.25"].printed == 58.0


def test_swapped_heads_keep_what_was_printed() -> None:
    columns = {column.metric: column for column in paper_table("table12").columns}
    assert columns["scan2cap/bleu4@0.5"].printed == "Scan2Cap C@0.5"


def test_every_mark_has_its_reason() -> None:
    """A remark in the file about a row or metric that does not exist would be lost."""
    written = json.loads(TABLES_FILE.read_text())["tables"].values()
    remarks = [cell for table in paper_tables().values() for _, _, cell in table.remarks]
    assert len(remarks) == sum(len(table["remarks"]) for table in written) > 0
    assert all(len(cell.why) > 15 for cell in remarks)


def test_unmarked_cells_are_as_printed() -> None:
    for table in paper_tables().values():
        for row in table.rows:
            for cell in row.cells.values():
                assert cell.standing == "repaired" or cell.value == cell.printed


def test_rows_that_we_can_run_name_their_setting() -> None:
    teachers = {row.setting.teacher for row in paper_table("table4").rows if row.setting}
    assert teachers == {"none", "siglip2", "mae", "dinov2", "flare", "vggt"}
    assert paper_table("table12").rows[2].setting.layers == (-1, -3, -5)  # type: ignore[union-attr]


def test_an_unknown_table_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="only table1 to table13; did you mean 'table4'"):
        paper_table("table14")
