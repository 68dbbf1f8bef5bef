"""What is said of a wrong name: the nearest right one, and no list that nobody reads."""

from __future__ import annotations

from threedrs_platform.config.suggestions import did_you_mean, nearest_and_all, nearest_few

SCENES = [f"train{number:05d}" for number in range(570)]


def test_few_names_are_all_told() -> None:
    assert did_you_mean("xyz", ["none", "vggt"]) == "; known: none, vggt"
    assert nearest_and_all("vgt", ["none", "vggt"]) == "; did you mean 'vggt'? (known: none, vggt)"


def test_many_names_are_counted_and_begun() -> None:
    hint = "; there are 570, e.g. 'train00000', 'train00001', 'train00002'"
    assert did_you_mean("nosuch", SCENES) == hint
    assert nearest_and_all("nosuch", SCENES) == hint
    assert nearest_and_all("train0007", SCENES).startswith("; did you mean 'train0")


def test_a_name_that_is_near_none_gets_no_guess() -> None:
    names = ["scanrefer/acc@0.25", "scenes/skipped", *SCENES]
    assert nearest_few("zzzz", names, "`results`") == "; `results` shows all 572"
    assert "did you mean 'scanrefer/acc@0.25'?" in nearest_few("acc", names, "`results`")
