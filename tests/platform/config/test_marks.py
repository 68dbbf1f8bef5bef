"""Settings without effect on results say so on their field, and stay out of identities."""

from typing import Annotated, Literal

import pytest

from threedrs_platform.config import CONDUCT, LATER, PLACE, REPORTED, Config, merged
from threedrs_platform.config.kinds import choose, load_modules, read_kind


class Weights(Config):
    kind: Literal["weights"] = "weights"
    checkpoint: Annotated[str | None, PLACE] = None
    layer: int = -1


class Recipe(Config):
    first: Weights = Weights(checkpoint="/a")
    others: tuple[Weights, ...] = (Weights(), Weights(checkpoint="/b"))
    table: dict[str, Weights] = {"x": Weights(checkpoint="/c")}  # noqa: RUF012
    workers: Annotated[int, CONDUCT] = 1
    remark: Annotated[str, REPORTED] = ""
    sizes: tuple[int, ...] = (1, 2)


def test_places_conduct_and_remarks_are_no_part_of_an_identity() -> None:
    moved = Recipe(first=Weights(checkpoint="/elsewhere"), workers=8, remark="new")
    assert moved.identity() == Recipe().identity()
    assert moved.fingerprint() == Recipe().fingerprint()
    assert Recipe(first=Weights(layer=3)).identity() != Recipe().identity()


def test_places_and_remarks_stay_where_only_conduct_is_left_out() -> None:
    left = Recipe(remark="new").canonical(without=(CONDUCT,))
    assert "workers" not in left and left["first"]["checkpoint"] == "/a"
    assert left["remark"] == "new"


@pytest.mark.parametrize("recipe", [Recipe(), Recipe(first=Weights(), others=(), table={})])
def test_identity_and_remainder_make_the_whole_again(recipe: Recipe) -> None:
    assert Recipe.model_validate(merged(recipe.identity(), recipe.remainder())) == recipe


class Newer(Config):
    steps: int = 1
    control: Annotated[Literal["none", "other"], LATER] = "none"
    part: Annotated[Weights | None, LATER] = None


def test_a_later_setting_is_part_of_an_identity_unless_it_has_its_default() -> None:
    assert Newer().identity() == Newer(control="none").identity() == {"steps": 1}
    assert Newer(control="other").identity() == {"steps": 1, "control": "other"}
    inner = Newer(part=Weights(checkpoint="/a", layer=3))
    assert inner.identity()["part"] == {"kind": "weights", "layer": 3}
    assert Newer().canonical()["control"] == "none"
    for newer in (Newer(), Newer(control="other"), inner):
        assert Newer.model_validate(merged(newer.identity(), newer.remainder())) == newer


def test_a_chosen_component_is_read_back_with_its_places() -> None:
    weights = Weights(checkpoint="/a", layer=2)
    chosen = choose(weights)
    assert chosen.open(Weights) == weights
    assert chosen.identity() == {"module": __name__, "settings": {"kind": "weights", "layer": 2}}


def test_modules_that_settings_name_are_told_beside_the_identity() -> None:
    chosen = choose(Weights(), more=("json", "math"))
    assert chosen.identity() == choose(Weights()).identity()
    assert [module.__name__ for module in load_modules(chosen.more)] == ["json", "math"]


def test_a_module_without_the_kind_is_named() -> None:
    with pytest.raises(TypeError, match="holds no Weights of kind 'other'"):
        read_kind(__name__, {"kind": "other"}, Weights)
