"""Findings: the data decide, and nothing is claimed that they do not carry."""

from __future__ import annotations

from typing import Any

import pytest

from threedrs_components.report.document import make_report
from threedrs_components.report.findings import Finding, Verdict, summary
from threedrs_components.report.honesty import COLOUR_ALONE, honesty_notes
from threedrs_components.report.roles import Role, assign_roles
from threedrs_components.report.table import result_table
from threedrs_components.report.traits import traits
from threedrs_components.scenes.registry import SCENES
from threedrs_platform.database.measurements import RunResults, SceneTotal, SceneTotals, flatten
from threedrs_platform.testing.fake_results import fake_results

POSITION = "scanrefer/acc@0.25/position"
ATTRIBUTE = "scanrefer/acc@0.25/attribute"
HELPS = "Distilling the 3D teacher helps"
VGGT = {"teacher": "3d", "teachers": {"3d": {"kind": "vggt"}}}
PARAMS: dict[str, dict[str, Any]] = {
    "baseline": {"teacher": "none"},
    "vggt": {**VGGT, "alignment": {"weight": 3.0, "layers": [-1]}},
    "vggt-layer-2": {**VGGT, "alignment": {"weight": 3.0, "layers": [-2]}},
    "mae": {"teacher": "2d", "teachers": {"2d": {"kind": "mae"}}, "alignment": {"weight": 1.0}},
    "corr": {"teacher": "none", "correspondence": {"weight": 1.0}},
    "blind": {"teacher": "none", "student": "dark", "students": {"dark": {"blind": True}}},
}


def run(cells: dict[str, list[float]], metric: str = POSITION) -> RunResults:
    values = {
        name: {seed: {metric: value} for seed, value in enumerate(numbers)}
        for name, numbers in cells.items()
    }
    return fake_results(values, PARAMS)


def findings_of(results: RunResults, totals: SceneTotals | None = None) -> dict[str, Finding]:
    return {finding.claim: finding for finding in make_report(results, totals).findings}


def test_roles_are_read_from_parameters() -> None:
    results = run({name: [1.0] for name in PARAMS})
    roles = assign_roles(result_table(results))
    assert {role: row.title for role, row in roles.items()} == {
        Role.BASELINE: "baseline",
        Role.TEACHER_3D: "vggt",
        Role.EARLIER_LAYER: "vggt-layer-2",
        Role.TEACHER_2D: "mae",
        Role.CORRESPONDENCE: "corr",
        Role.BLIND: "blind",
    }


def test_dotted_and_nested_parameters_mean_the_same() -> None:
    for nested in PARAMS.values():
        assert traits(nested) == traits(flatten(nested))


@pytest.mark.parametrize(
    ("layers", "last", "earlier"),
    [
        ([-1], True, False),
        ([3], True, False),
        ([2], False, True),
        ([-1, 2], False, False),
        (["tower"], False, False),
        (["projector", 2], False, False),
    ],
)
def test_the_last_layer_is_known_by_number_too(
    layers: list[int | str], last: bool, earlier: bool
) -> None:
    student = {"student": "s", "students": {"s": {"micro": {"layers": 3}}}}
    found = traits({**VGGT, **student, "alignment": {"layers": layers}})
    assert (found.last_layer, found.earlier_layer) == (last, earlier)


def made_elsewhere(**said: Any) -> dict[str, Any]:
    teachers = {"features": {"kind": "precomputed", "teacher": "unknown", "sees": None, **said}}
    return {"teacher": "features", "teachers": teachers}


@pytest.mark.parametrize(
    ("params", "role"),
    [
        (made_elsewhere(teacher="vggt"), Role.TEACHER_3D),
        (made_elsewhere(teacher="dinov2_reg"), Role.TEACHER_2D),
        (made_elsewhere(teacher="fast3r", sees="3d"), Role.TEACHER_3D),
        (made_elsewhere(teacher="fast3r", sees="2d"), Role.TEACHER_2D),
        (made_elsewhere(teacher="vggt", sees="nothing"), None),
        (made_elsewhere(teacher="fast3r"), None),
        ({"teacher": "flare", "teachers": {"flare": {"kind": "flare"}}}, Role.TEACHER_3D),
        ({"teacher": "rgb", "teachers": {"rgb": {"kind": "rgb"}}}, None),
    ],
)
def test_a_teachers_role_is_told_by_what_it_learned_from(
    params: dict[str, Any], role: Role | None
) -> None:
    table = result_table(fake_results({"cell": {1: {}}, "base": {1: {}}}, {"cell": params}))
    found = [each for each, row in assign_roles(table).items() if row.title == "cell"]
    assert found == ([] if role is None else [role])


def test_a_teacher_of_whom_nobody_says_what_it_learned_from_is_named() -> None:
    table = result_table(
        fake_results({"cell": {1: {}}}, {"cell": made_elsewhere(teacher="fast3r")})
    )
    (note, _) = honesty_notes(table)
    assert note.startswith("What the teacher 'fast3r' learned from is not said")
    assert "teachers.*.sees" in note


def test_a_teacher_without_weight_teaches_nothing() -> None:
    assert traits({**VGGT, "alignment": {"weight": 0.0}}).teacher is None


def test_a_loss_of_the_teachers_depth_alone_has_a_teacher() -> None:
    depth = {"weight": 1.0, "source": "teacher", "confidence": True, "control": "none"}
    alone = {**VGGT, "alignment": {"weight": 0.0}, "depth": depth}
    assert (traits(alone).teacher, traits(alone).sees) == ("vggt", "3d")
    sensed = {**VGGT, "alignment": {"weight": 0.0}, "depth": {"weight": 1.0, "source": "sensor"}}
    assert traits(sensed).teacher is None


@pytest.mark.parametrize(
    "arm",
    [
        {"fusion": {"mode": "add"}},
        {"alignment": {"weight": 3.0, "layers": [-1], "control": "other_scene"}},
    ],
)
def test_fusion_and_controls_are_not_taken_for_distillation(arm: dict[str, Any]) -> None:
    cells: dict[str, dict[int, dict[str, float]]] = {"cell": {1: {}}, "base": {1: {}}}
    table = result_table(fake_results(cells, {"cell": {**PARAMS["vggt"], **arm}}))
    assert "cell" not in [row.title for row in assign_roles(table).values()]
    fused = {**VGGT, "alignment": {"weight": 0.0}, "fusion": {"mode": "add"}}
    assert not traits(fused).is_plain and traits({"teacher": "none"}).is_plain
    notes = [each for each in honesty_notes(table) if "at inference, too" in each]
    assert len(notes) == ("fusion" in arm)


def test_a_clear_gain_agrees_with_seeds_interval_and_p() -> None:
    found = findings_of(run({"baseline": [24.0, 23.0, 25.0], "vggt": [48.0, 46.5, 49.5]}))[HELPS]
    assert found.verdict is Verdict.AGREES
    assert f"{POSITION}: +24.0 [" in found.evidence
    assert "3 paired seeds" in found.evidence
    assert "over seeds" in found.evidence


def test_a_clear_loss_differs() -> None:
    found = findings_of(run({"baseline": [48.0, 47.0, 49.0], "vggt": [24.0, 23.5, 25.5]}))[HELPS]
    assert found.verdict is Verdict.DIFFERS


def test_noise_shows_nothing() -> None:
    found = findings_of(run({"baseline": [24.0, 29.0, 22.0], "vggt": [28.0, 23.0, 26.0]}))[HELPS]
    assert found.verdict is Verdict.NOT_SHOWN
    assert "no significant difference" in str(found)


def test_ties_show_nothing() -> None:
    ties = {"baseline": [25.0, 26.0, 24.0], "vggt": [26.0, 25.0, 24.0]}
    assert findings_of(run(ties))[HELPS].verdict is Verdict.NOT_SHOWN


def test_one_seed_proves_nothing_about_training() -> None:
    results = run({"baseline": [24.0], "vggt": [48.0]})
    assert findings_of(results)[HELPS].verdict is Verdict.UNTESTED
    totals: SceneTotals = {
        ("id-baseline", 0, POSITION): {f"r{i}": SceneTotal(0.0, 1) for i in range(40)},
        ("id-vggt", 0, POSITION): {f"r{i}": SceneTotal(100.0, 1) for i in range(40)},
    }
    assert findings_of(results, totals)[HELPS].verdict is Verdict.AGREES_HERE


def test_a_run_that_measured_nothing_yet_makes_no_findings() -> None:
    assert findings_of(run({"baseline": [1.0], "vggt": [2.0]}, "teacher/point_error")) == {}


def test_claims_about_absent_cells_are_not_made() -> None:
    assert set(findings_of(run({"baseline": [1.0, 2.0], "vggt": [3.0, 4.0]}))) == {
        HELPS,
        "The correspondence score rises with 3D distillation",
        "Distillation costs nothing in attribute grounding",
    }


def test_a_claim_without_its_metric_is_not_measured() -> None:
    found = findings_of(run({"baseline": [1.0, 2.0], "vggt": [3.0, 4.0]}))
    score = found["The correspondence score rises with 3D distillation"]
    assert score.verdict is Verdict.NOT_MEASURED


@pytest.mark.parametrize(
    ("attribute", "verdict"),
    [([74.0, 75.0, 73.5], Verdict.DIFFERS), ([79.0, 81.5, 80.0], Verdict.NO_FALL)],
)
def test_the_cost_in_attributes_is_said(attribute: list[float], verdict: Verdict) -> None:
    results = run({"baseline": [79.4, 80.5, 79.1], "vggt": attribute}, ATTRIBUTE)
    found = findings_of(results)["Distillation costs nothing in attribute grounding"]
    assert found.verdict is verdict


def test_a_significant_layer_ordering_still_carries_its_caveat() -> None:
    results = run({"baseline": [1.0] * 3, "vggt": [48.0, 47, 49], "vggt-layer-2": [24.0, 23.5, 25]})
    found = findings_of(results)["Aligning the last layer is better than aligning an earlier one"]
    assert found.verdict is Verdict.AGREES
    assert "few layers" in found.caveat


def scores_and_hits(rises: bool) -> SceneTotals:
    """40 scenes whose hits follow their correspondence score, or do not."""
    score = {f"r{i:02}": SceneTotal(i / 40, 1) for i in range(40)}
    hits = {f"r{i:02}": SceneTotal(float(i if rises else i * 17 % 40), 1) for i in range(40)}
    return {("id-baseline", 0, "probe/score"): score, ("id-baseline", 0, POSITION): hits}


@pytest.mark.parametrize(
    ("rises", "verdict"), [(True, Verdict.AGREES_HERE), (False, Verdict.NOT_SHOWN)]
)
def test_a_quartile_trend_is_claimed_only_if_there_is_one(rises: bool, verdict: Verdict) -> None:
    report = make_report(run({"baseline": [20.0]}), scores_and_hits(rises))
    (trend,) = report.findings
    assert trend.verdict is verdict
    assert bool(trend.caveat) is rises
    assert sum(report.trends[0].quartiles.counts) == 40


def test_the_summary_names_what_agrees_and_what_differs() -> None:
    made = [Finding("A", Verdict.AGREES, ""), Finding("B", Verdict.DIFFERS, "")]
    assert summary(made) == "Of 2 claims of the paper, this run agrees with 1 and contradicts 1."


def test_the_micro_world_brings_its_notes_and_real_scenes_do_not() -> None:
    micro = fake_results({"baseline": {1: {}}}, {"baseline": {"scenes": {"kind": "micro"}}})
    assert any("compass" in note for note in honesty_notes(result_table(micro)))
    real = fake_results({"baseline": {1: {}}}, {"baseline": {"scenes": {"kind": "scannet"}}})
    (only,) = honesty_notes(result_table(real))
    assert only.startswith("Only 1 seed")


def test_scenes_without_geometry_are_told() -> None:
    def notes(kind: str) -> str:
        results = fake_results({"baseline": {1: {}}}, {"baseline": {"scenes": {"kind": kind}}})
        return " ".join(honesty_notes(result_table(results)))

    assert "Scenes of kind videos have no depth" in notes("videos")
    assert "no depth" not in notes("scannet") + notes("of a plugin")
    assert {kind for kind in SCENES if not SCENES[kind].has_geometry} == COLOUR_ALONE


def test_unanswered_questions_are_told() -> None:
    answered, silent = {"vsibench/missing": 0.0}, {"vsibench/missing": 10.0}
    results = fake_results({"baseline": {1: answered}, "other": {1: silent}})
    told = [note for note in honesty_notes(result_table(results, ("*",))) if "no answer" in note]
    assert len(told) == 1 and told[0].startswith("vsibench: up to 10 of ")
    fine = fake_results({"baseline": {1: answered}})
    assert not any("no answer" in n for n in honesty_notes(result_table(fine, ("*",))))


MICRO = {"scenes": {"kind": "micro"}}
MAE = {"teacher": "mae", "teachers": {"mae": {"kind": "mae"}}}
SINE = {"student": "s", "students": {"s": {"position_encoding": True}}}


@pytest.mark.parametrize(
    ("params", "of_3d", "of_distillation", "of_positions"),
    [
        ({"teacher": "none"}, False, False, True),
        (MAE, False, True, True),
        ({"teacher": "rgb"}, False, True, True),
        (VGGT, True, True, True),
        ({**VGGT, "alignment": {"weight": 0.0}}, False, False, True),
        (made_elsewhere(teacher="vggt"), True, True, True),
        ({**VGGT, **SINE}, True, True, False),
    ],
)
def test_notes_speak_of_what_took_part(
    params: dict[str, Any], of_3d: bool, of_distillation: bool, of_positions: bool
) -> None:
    table = result_table(fake_results({"cell": {1: {}}}, {"cell": {**MICRO, **params}}))
    notes = " ".join(honesty_notes(table))
    assert ("The 3D teacher learned" in notes) is of_3d
    assert ("at which distillation takes hold" in notes) is of_distillation
    assert ("the teachers are not matched" in notes) is of_distillation
    assert ("no 3D position encoding" in notes) is of_positions
    assert notes.count("Seeds vary the student's training only") == 1


def test_enough_seeds_need_no_warning() -> None:
    assert honesty_notes(result_table(run({"baseline": [1.0] * 6}))) == ()


@pytest.mark.parametrize(
    ("alignment", "told"),
    [
        ({"layers": [-1]}, []),
        ({"layers": ["tower"]}, []),
        ({"layers": [-3], "inner_states": "normalised"}, ["are normalised states"]),
        ({"layers": [-1, -3], "layer_losses": "sum"}, ["are raw states", "as their sum"]),
    ],
)
def test_what_is_assumed_of_other_layers_is_told(
    alignment: dict[str, Any], told: list[str]
) -> None:
    params = {**VGGT, "alignment": {"weight": 1.0, **alignment}}
    notes = honesty_notes(result_table(fake_results({"cell": {1: {}}}, {"cell": params})))
    of_layers = [note for note in notes if "alignment." in note]
    assert len(of_layers) == len(told)
    assert all(words in note for words, note in zip(told, of_layers, strict=True))


@pytest.mark.parametrize(
    ("metric", "said"), [("scanqa/cider", True), ("scanqa/meteor", False), ("scanrefer/acc", False)]
)
def test_a_report_without_meteor_says_so(metric: str, said: bool) -> None:
    params = {"benchmarks": {"meteor": "if_installed"}}
    results = fake_results({"cell": {1: {metric: 1.0}}}, {"cell": params})
    found = honesty_notes(result_table(results))
    assert any("METEOR was not measured" in note for note in found) == said


def test_quartiles_of_samples_stand_beside_those_of_scenes() -> None:
    """The lowest scene of forty has as many samples as all others together."""
    totals = {
        key: {scene: SceneTotal(each.total, 1) for scene, each in scenes.items()}
        for key, scenes in scores_and_hits(True).items()
    }
    hits = totals["id-baseline", 0, POSITION]
    hits["r00"] = SceneTotal(0.0, 39)
    (trend,) = make_report(run({"baseline": [20.0]}), totals).trends
    assert trend.quartiles.counts == (10, 10, 10, 10)
    assert sum(trend.of_samples.counts) == 78 and trend.of_samples.counts[0] == 0
    assert trend.of_samples.counts[1] == 39 and trend.of_samples.means[1] == 0.0
