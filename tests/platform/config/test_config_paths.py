from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from threedrs_platform.config import Config
from threedrs_platform.config.paths import kinds_of, known_paths, path_fault
from threedrs_platform.config.strict_yaml import Document, Place, load_document
from threedrs_platform.config.tree import Tree, get_in, put_in


class Ring(Config):
    kind: Literal["ring"] = "ring"
    radius: float = 1


class Square(Config):
    kind: Literal["square"] = "square"
    side: float = 1


Shape = Annotated[Ring | Square, Field(discriminator="kind")]


class Paint(Config):
    layers: tuple[int, ...] = (1,)
    gloss: float | None = None


class Picture(Config):
    shapes: dict[str, Shape] = Field(default_factory=dict)
    main: Shape = Ring()
    paint: Paint = Paint()
    tags: dict[str, str] = Field(default_factory=dict)


DATA: dict[str, Any] = {"shapes": {"a": {"kind": "ring"}, "b": {"kind": "square"}}}


def test_known_paths_follow_the_kinds_that_the_data_names() -> None:
    assert known_paths(Picture, DATA) == [
        "main.kind",
        "main.radius",
        "paint.gloss",
        "paint.layers",
        "shapes.a.kind",
        "shapes.a.radius",
        "shapes.b.kind",
        "shapes.b.side",
        "tags",
    ]


@pytest.mark.parametrize(
    "path", ["paint", "paint.layers", "shapes.a.radius", "main.radius", "tags"]
)
def test_paths_to_settings_and_sections_are_known(path: str) -> None:
    assert path_fault(Picture, path, DATA) is None


@pytest.mark.parametrize("path", ["shapes.a.side", "main.side"])
def test_a_setting_of_another_kind_is_told_to_be_one(path: str) -> None:
    told = ": kind ring has no side; kind square has it"
    assert path_fault(Picture, path, DATA) == f"no setting {path!r}{told}"


@pytest.mark.parametrize(
    ("path", "meant"),
    [
        ("paint.layer", "paint.layers"),
        ("layers", "paint.layers"),
        ("shapes.c.radius", "shapes.a.radius"),
        ("pant.gloss", "paint.gloss"),
    ],
)
def test_unknown_paths_suggest_the_nearest(path: str, meant: str) -> None:
    message = path_fault(Picture, path, DATA)
    assert message is not None
    assert message.startswith(f"no setting {path!r}")
    assert repr(meant) in message


@pytest.mark.parametrize(
    "path", ["", ".", "paint.", "paint.layers.0", "paint.gloss.x", "shapes.a.b.c"]
)
def test_paths_that_lead_nowhere_are_faults(path: str) -> None:
    assert path_fault(Picture, path, DATA) is not None


def test_kinds_of_a_union_inside_a_table() -> None:
    assert kinds_of(Picture, ("shapes", "a")) == ["ring", "square"]


def test_values_are_set_in_a_copy() -> None:
    before = {"a": {"b": 1, "c": 2}}
    after = put_in(before, ("a", "b"), 3)
    assert after == {"a": {"b": 3, "c": 2}}
    assert before == {"a": {"b": 1, "c": 2}}


@pytest.mark.parametrize(
    ("path", "value", "result"),
    [
        (("a",), {"b": 3}, {"a": {"kind": "x", "b": 3, "c": 2}}),
        (("a",), {"d.e": 4}, {"a": {"kind": "x", "b": 1, "c": 2, "d": {"e": 4}}}),
        (("a",), {"kind": "y", "b": 3}, {"a": {"kind": "y", "b": 3}}),
        (("a",), {}, {"a": {}}),
        (("a", "b"), [1], {"a": {"kind": "x", "b": [1], "c": 2}}),
        (("a", "b", "deep"), 1, {"a": {"kind": "x", "b": {"deep": 1}, "c": 2}}),
        ((), {"z.y": 1}, {"a": {"kind": "x", "b": 1, "c": 2}, "z": {"y": 1}}),
    ],
)
def test_mappings_merge_and_other_kinds_replace(
    path: tuple[str, ...], value: Any, result: dict[str, Any]
) -> None:
    assert put_in({"a": {"kind": "x", "b": 1, "c": 2}}, path, value) == result


def test_get_in_gives_the_default_where_nothing_is() -> None:
    assert get_in({"a": {"b": 1}}, ("a", "b")) == 1
    assert get_in({"a": {"b": 1}}, ("a", "b", "c"), "none") == "none"


def test_a_tree_knows_which_file_each_value_came_from() -> None:
    preset = load_document("paint:\n  layers: [1]\n  gloss: 2\n", "preset.yaml")
    grid = load_document("base:\n  paint.layers: [5, x]\n", "grid.yaml")
    tree = Tree().put((), preset.data, preset, ())
    tree = tree.put((), grid.data["base"], grid, ("base",))
    assert tree.data == {"paint": {"layers": [5, "x"], "gloss": 2}}
    assert tree.place(("paint", "layers", 1)) == Place("grid.yaml", 2, 21)
    assert tree.place(("paint", "gloss")) == Place("preset.yaml", 3, 10)
    built, faults = tree.build(Picture)
    assert built is None
    assert [str(fault) for fault in faults] == [
        'grid.yaml:2:21: paint.layers[1]: expected a whole number, got "x"'
    ]


def test_replaced_values_lose_their_old_places() -> None:
    old = load_document("main: {kind: ring, radius: 2}\n", "old.yaml")
    new = load_document("main: {kind: square}\n", "new.yaml")
    tree = Tree().put((), old.data, old, ()).put((), new.data, new, ())
    assert tree.data == {"main": {"kind": "square"}}
    assert tree.place(("main", "radius")).file == "new.yaml"


def test_values_of_flags_are_placed_at_the_flag() -> None:
    flag = Document("--set main.radius=x", "x", {})
    (fault,) = Tree().put(("main",), {"kind": "ring", "radius": "x"}, flag, ()).build(Picture)[1]
    assert str(fault) == '--set main.radius=x: main.radius: expected a number, got "x"'
