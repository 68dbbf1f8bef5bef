from dataclasses import replace

import pytest

from threedrs_platform.identity.canonical import canonical_json
from threedrs_platform.identity.recipes import CodeDigest, make_recipe
from threedrs_platform.steps import Resources, StepSpec

CODE = CodeDigest("c0de", {"torch": "2.13.0"})
SPEC = StepSpec("finetune", "threedrs_x.y:run", {"lr": 1e-3, "layers": [1, 2]})


def key(spec: StepSpec = SPEC, code: CodeDigest = CODE, **inputs: str) -> str:
    return make_recipe(spec, code, inputs).key()


def test_equal_recipes_have_equal_keys() -> None:
    assert key() == key(replace(SPEC, params={"layers": [1, 2], "lr": 0.001}))


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, label="another name"),
        replace(SPEC, resources=Resources(cpus=8, gpus=4, memory_gib=99, timeout_s=5)),
        replace(SPEC, settings={"checkpoint_every": 7}),
    ],
    ids=["label", "resources", "settings"],
)
def test_what_changes_no_number_is_not_in_the_key(other: StepSpec) -> None:
    assert key(other) == key()


@pytest.mark.parametrize(
    "other",
    [
        replace(SPEC, kind="probe"),
        replace(SPEC, params={"lr": 1e-3, "layers": [2, 1]}),
        replace(SPEC, params={"lr": 1e-3}),
        replace(SPEC, version=2),
        replace(SPEC, numerics="cuda-bfloat16"),
        replace(SPEC, entry="threedrs_x.y:other"),
    ],
    ids=["kind", "order of a list", "absent parameter", "version", "numerics", "entry"],
)
def test_what_may_change_a_number_is_in_the_key(other: StepSpec) -> None:
    assert key(other) != key()


def test_code_packages_and_inputs_are_in_the_key() -> None:
    keys = {
        key(),
        key(code=CodeDigest("0ther", CODE.packages)),
        key(code=CodeDigest("c0de", {"torch": "2.14.0"})),
        key(scenes="a"),
        key(scenes="b"),
        key(prepared="a"),
    }
    assert len(keys) == 6


def test_content_key_depends_on_digests_not_on_how_inputs_were_made() -> None:
    first, second = (make_recipe(SPEC, CODE, {"scenes": made}) for made in ("recipe-a", "recipe-b"))
    assert first.key() != second.key()
    assert first.content_key({"scenes": "d"}) == second.content_key({"scenes": "d"})
    assert first.content_key({"scenes": "d"}) != first.content_key({"scenes": "e"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"bytes", {1, 2}])
def test_a_value_without_canonical_form_is_an_error_that_names_the_step(value: object) -> None:
    with pytest.raises((TypeError, ValueError), match="step finetune"):
        key(replace(SPEC, params={"lr": value}))


def test_canonical_json_is_sorted_and_tight() -> None:
    assert canonical_json({"b": [1, 2.5], "a": None}) == '{"a":null,"b":[1,2.5]}'
