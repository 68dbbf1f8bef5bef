"""Classes that decide whether a described object is unique."""

from pathlib import Path

import pytest

from threedrs_components.benchmarks.label_map import LabelMap, read_label_map, unique_or_multiple
from threedrs_platform.errors import AnnotationError

TABLE = """\
id\traw_category\tcount\tnyu40id\teigen13id\tnyu40class
1\tchair\t9\t5\t4\tchair
2\toffice chair\t9\t5\t4\tchair
3\tmonitor\t9\t40\t7\totherprop
4\ttrash can\t9\t39\t6\totherfurniture
5\tfloor\t9\t2\t5\tfloor
6\tceiling\t9\t22\t7\tceiling
"""


@pytest.fixture
def labels(tmp_path: Path) -> LabelMap:
    path = tmp_path / "scannetv2-labels.combined.tsv"
    path.write_text(TABLE)
    return read_label_map(path)


@pytest.mark.parametrize(
    ("name", "official", "nyu40"),
    [
        ("office_chair", "chair", "5"),
        ("monitor", "others", "39"),
        ("trash_can", "others", "39"),
        ("floor", "others", "2"),
        ("ceiling", "others", "39"),
        ("unheard of", "others", "39"),
    ],
)
def test_names_map_to_the_classes_of_both_evaluators(
    labels: LabelMap, name: str, official: str, nyu40: str
) -> None:
    assert labels.official_class(name) == official
    assert labels.nyu40_class(name) == nyu40


def test_an_object_is_unique_if_no_other_described_one_has_its_class(labels: LabelMap) -> None:
    described = [
        ("s0", "1", "chair"),
        ("s0", "1", "chair"),
        ("s0", "2", "office_chair"),
        ("s0", "3", "floor"),
        ("s0", "4", "monitor"),
        ("s0", "5", "trash_can"),
        ("s1", "1", "chair"),
    ]
    official = unique_or_multiple(described, labels.official_class)
    assert official == [*["multiple"] * 6, "unique"]
    # With wall and floor as classes of their own, the floor is unique.
    nyu40 = unique_or_multiple(described, labels.nyu40_class)
    assert nyu40 == [*["multiple"] * 3, "unique", *["multiple"] * 2, "unique"]


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text("raw_category\tnyu40id\nchair\t5\n")
    with pytest.raises(AnnotationError, match="record 0: nyu40class: Field required"):
        read_label_map(path)


def test_a_byte_order_mark_is_no_column(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text("raw_category\tnyu40id\tnyu40class\nlamp\t35\tlamp\n", encoding="utf-8-sig")
    assert read_label_map(path).knows("lamp")


def test_a_field_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text("raw_category\tnyu40id\tnyu40class\n" + "x" * 200_000 + "\t1\twall\n")
    with pytest.raises(AnnotationError, match="cannot be read: field larger than"):
        read_label_map(path)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="cannot be read"):
        read_label_map(tmp_path / "none.tsv")
