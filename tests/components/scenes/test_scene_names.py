from __future__ import annotations

import pytest

from threedrs_components.scenes.scene_names import is_name, is_scene_id


@pytest.mark.parametrize("text", ["scene0000_00", "41069025", "_a", "036bce3393", "a-b"])
def test_names_of_data_sets_and_scenes(text: str) -> None:
    assert is_name(text) and is_scene_id(text)


def test_a_scene_among_those_of_all_data_sets_has_a_dot() -> None:
    assert is_scene_id("arkitscenes.41069025") and not is_name("arkitscenes.41069025")


@pytest.mark.parametrize(
    "text",
    ["", ".", "..", "a..b", ".a", "a.", "../a", "a/b", "a\\b", "a\0", "a\n", "-a", "a b"],
)
def test_what_leads_elsewhere_is_no_name(text: str) -> None:
    assert not is_name(text) and not is_scene_id(text)
