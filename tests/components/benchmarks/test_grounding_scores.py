"""ScanRefer and Multi3DRefer by every protocol, with the arithmetic."""

from dataclasses import replace

import numpy as np
import pytest

from threedrs_components.benchmarks.multi3drefer.scorer import Multi3DReferScorer
from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.benchmarks.scanrefer.scorer import ScanReferScorer
from threedrs_components.benchmarks.tally import Evaluation
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Prediction, Sample

UNIT = (0.0, 0.0, 0.0, 1.0, 1.0, 1.0)
AWAY = (9.0, 0.0, 0.0, 1.0, 1.0, 1.0)


def shifted(by: float) -> tuple[float, ...]:
    """Overlaps the unit cube by (1 - by) / (1 + by)."""
    return (by, 0.0, 0.0, 1.0, 1.0, 1.0)


def query(name: str, *boxes: tuple[float, ...], kind: str = "", **tags: str) -> Sample:
    return Sample(
        sample_id=name,
        benchmark="scanrefer",
        scene_id="s0",
        kind="ground",
        prompt="",
        target_ids=tuple(range(len(boxes))),
        target_boxes=boxes,
        question_type=kind,
        tags=tags,
    )


def given(name: str, *boxes: tuple[float, ...], scores: tuple[float, ...] = ()) -> Prediction:
    return Prediction(name, boxes=boxes, scores=scores)


def value(evaluation: Evaluation, name: str, kind: str = "") -> float:
    metrics = evaluation.per_type[kind] if kind else evaluation.metrics
    return metrics[name].value


def scanrefer(
    samples: list[Sample], predictions: list[Prediction], protocol: str = "3drs"
) -> Evaluation:
    return ScanReferScorer(protocol=protocol).evaluate(samples, predictions)


def test_accuracy_counts_hits_at_both_thresholds_per_type() -> None:
    samples = [query(str(n), UNIT, kind=("unique", "multiple")[n > 1]) for n in range(4)]
    # IoU 1, 1/3 (shift .5), 1/2 at the border (shift 1/3), 0.
    boxes = [UNIT, shifted(0.5), shifted(0.3333), AWAY]
    found = scanrefer(samples, [given(str(n), box) for n, box in enumerate(boxes)])
    assert value(found, "acc@0.25") == 75.0 and value(found, "acc@0.5") == 50.0
    assert value(found, "acc@0.25", "unique") == 100.0
    assert value(found, "acc@0.5", "unique") == 50.0
    assert value(found, "acc@0.25", "multiple") == 50.0
    assert found.metrics["acc@0.5"].n == 4 and found.per_type["unique"]["acc@0.5"].n == 2


def test_the_zero_target_score_never_wins_in_scanrefer() -> None:
    prediction = given("a", AWAY, UNIT, scores=(0.1, 0.4, 0.9))
    assert ScanReferScorer.chosen_boxes(prediction) == (UNIT,)
    found = scanrefer([query("a", UNIT)], [prediction])
    assert value(found, "acc@0.5") == 100.0
    # One of two candidates hits.
    assert found.metrics["acc@0.5"].chance == 50.0


def test_a_scene_without_proposals_leaves_nothing_to_chance() -> None:
    predictions = [given("a", AWAY, UNIT, scores=(0.1, 0.4, 0.9)), given("b", scores=(0.9,))]
    found = scanrefer([query("a", UNIT), query("b", UNIT)], predictions)
    assert found.metrics["acc@0.5"].chance == 25.0


MIN_MAX = (0.0, 0.0, 0.0, 1.0, 1.0, 1.0)
CENTRED = (0.5, 0.5, 0.5, 1.0, 1.0, 1.0)


@pytest.mark.parametrize("kind", ["scanrefer", "multi3drefer", "scan2cap"])
def test_boxes_that_are_corners_and_negative_sizes_are_said(kind: str) -> None:
    samples = [query(name, CENTRED, kind="st_wo_d") for name in "ab"]
    samples = [replace(sample, answers=("x",)) for sample in samples]
    scorer = BENCHMARKS[kind]()
    judge = scorer.scorer(protocol=scorer.default_protocol)
    text = "x" if kind == "scan2cap" else None

    def unread(*boxes: tuple[float, ...]) -> list[str]:
        said = [Prediction(name, text, (box,)) for name, box in zip("ab", boxes, strict=True)]
        return [str(each) for each in judge.evaluate(samples, said).unread]

    assert unread(CENTRED, CENTRED) == unread(CENTRED, AWAY) == []
    [corners] = unread(MIN_MAX, MIN_MAX)
    assert corners.startswith("2 of 2 boxes overlap their object by 0.25 if they are read as two")
    [negative] = unread(CENTRED, (0.5, 0.5, 0.5, -1.0, 1.0, 1.0))
    assert negative.startswith("1 of 2 boxes have negative sizes")


def test_a_missing_prediction_is_a_miss_and_is_counted() -> None:
    found = scanrefer([query("a", UNIT), query("b", UNIT)], [given("a", UNIT)])
    assert value(found, "acc@0.5") == 50.0 and found.missing == 1
    assert found.warnings == ("1 of 2 samples have no prediction: counted as wrong",)


def test_the_official_protocol_averages_over_the_predictions_given() -> None:
    samples = [
        query("a", UNIT, official_type="unique", official_others="False"),
        query("b", UNIT, official_type="multiple", official_others="True"),
        query("c", UNIT, official_type="multiple", official_others="False"),
    ]
    found = scanrefer(samples, [given("a", UNIT), given("b", AWAY)], "official")
    assert value(found, "acc@0.5") == 50.0 and found.metrics["acc@0.5"].n == 2
    assert value(found, "acc@0.5", "unique_not_in_others") == 100.0
    assert value(found, "acc@0.5", "overall_in_others") == 0.0
    assert found.missing == 1 and "left out" in found.missing_rule


SPECK = (0.0, 0.0, 0.0, 0.004, 0.005, 0.005)
"""A volume of 1e-7 m3: its IoU with itself is 1e-7 / (1e-7 + eps), 0.91 or 0.46."""


def test_m3dref_adds_a_larger_constant_to_the_union() -> None:
    for protocol, accuracy in (("3drs", 100.0), ("official", 100.0), ("m3dref", 0.0)):
        found = scanrefer([query("a", SPECK)], [given("a", SPECK)], protocol)
        assert value(found, "acc@0.5") == accuracy and value(found, "acc@0.25") == 100.0
    for protocol, f1 in (("3drs", 100.0), ("m3dref", 0.0)):
        assert value(multi([query("a", SPECK)], [given("a", SPECK)], protocol), "f1@0.5") == f1


def test_m3dref_compares_in_single_precision() -> None:
    # Far from the origin single precision knows steps of 1/16 m only: a shift of 1/40 vanishes.
    # In double precision the IoU is (1/16 - 1/40) / (1/16 + 1/40), or 0.43.
    here = (1e6 + 1 / 32, 0.0, 0.0, 1 / 16, 1.0, 1.0)
    near = (here[0] + 1 / 40, *here[1:])
    for protocol, accuracy in (("3drs", 0.0), ("m3dref", 100.0)):
        found = scanrefer([query("a", near)], [given("a", here)], protocol)
        assert value(found, "acc@0.5") == accuracy


def test_micro_tasks_are_pooled() -> None:
    samples = [
        query("a", UNIT, task="g_lm"),
        query("b", UNIT, task="g_dir"),
        query("c", UNIT, task="g_attr"),
    ]
    found = scanrefer(samples, [given("a", UNIT), given("b", AWAY), given("c", UNIT)])
    assert value(found, "acc@0.5", "position") == 50.0
    assert value(found, "acc@0.5", "attribute") == 100.0
    assert value(found, "acc@0.5", "g_lm") == 100.0
    kept = {row.metric for row in found.scores}
    assert "scanrefer/acc@0.5/position" in kept and "scanrefer/acc@0.5/g_lm" not in kept


def test_several_boxes_need_scores_to_choose_by() -> None:
    with pytest.raises(AnnotationError, match="record a: boxes: 2 boxes without scores"):
        scanrefer([query("a", UNIT)], [given("a", AWAY, UNIT)])


def test_an_answer_without_any_box_is_a_miss() -> None:
    found = scanrefer([query("a", UNIT)], [Prediction("a")])
    assert value(found, "acc@0.25") == 0.0 and found.missing == 0


def test_rows_and_metrics_agree() -> None:
    samples = [query(str(n), UNIT) for n in range(5)]
    found = scanrefer(samples, [given(str(n), shifted(0.2 * n)) for n in range(5)])
    rows = [row.value for row in found.scores if row.metric == "scanrefer/acc@0.25"]
    assert np.mean(rows) == pytest.approx(value(found, "acc@0.25"))


def multi(
    samples: list[Sample], predictions: list[Prediction], protocol: str = "3drs"
) -> Evaluation:
    return Multi3DReferScorer(protocol=protocol).evaluate(samples, predictions)


def test_f1_is_averaged_per_type() -> None:
    samples = [
        query("none", kind="zt_wo_d"),
        query("one", UNIT, kind="st_w_d"),
        query("two", UNIT, AWAY, kind="mt"),
    ]
    predictions = [given("none"), given("one", UNIT, AWAY), given("two", UNIT)]
    found = multi(samples, predictions)
    assert value(found, "f1@0.25", "zt_wo_d") == 100.0
    assert value(found, "f1@0.25", "st_w_d") == pytest.approx(200 / 3)
    assert value(found, "f1@0.25", "mt") == pytest.approx(200 / 3)
    assert value(found, "f1@0.25") == pytest.approx((100 + 400 / 3) / 3)


def test_boxes_are_selected_from_scores() -> None:
    # Equal scores of three boxes: a third each, two reach 0.4.
    prediction = given("a", UNIT, AWAY, shifted(3), scores=(0.8, 0.8, 0.8, -1.0))
    assert Multi3DReferScorer.chosen_boxes(prediction) == (UNIT, AWAY)
    found = multi([query("a", UNIT)], [prediction])
    assert value(found, "f1@0.5") == pytest.approx(200 / 3)
    # Four entries, one of them a hit with F1 1.
    assert found.metrics["f1@0.5"].chance == pytest.approx(25.0)


def test_no_object_wins_over_the_boxes() -> None:
    prediction = given("a", UNIT, scores=(0.1, 0.2))
    assert value(multi([query("a")], [prediction]), "f1@0.5") == 100.0
    assert value(multi([query("a", UNIT)], [prediction]), "f1@0.5") == 0.0


def test_a_missing_answer_is_no_empty_answer() -> None:
    found = multi([query("a"), query("b")], [given("a")])
    assert value(found, "f1@0.25") == 50.0 and found.missing == 1


def test_m3dref_decides_zero_target_by_type_and_collapses_repeats() -> None:
    odd = query("a", UNIT, kind="zt_w_d")
    assert value(multi([odd], [given("a")], "m3dref"), "f1@0.25") == 100.0
    assert value(multi([odd], [given("a")], "3drs"), "f1@0.25") == 0.0
    twice = Sample("b", "multi3drefer", "s0", "ground", "", (), (3, 3), (UNIT, UNIT), None, "mt")
    assert value(multi([twice], [given("b", UNIT)], "m3dref"), "f1@0.25") == 100.0
    assert value(multi([twice], [given("b", UNIT)], "3drs"), "f1@0.25") == pytest.approx(200 / 3)
