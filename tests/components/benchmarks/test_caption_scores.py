"""Scan2Cap by every protocol: which caption speaks for which object, and what is compared."""

import numpy as np
import pytest

from threedrs_components.benchmarks.annotations import Box
from threedrs_components.benchmarks.scan2cap.candidates import enclosure_score
from threedrs_components.benchmarks.scan2cap.config import Scan2Cap
from threedrs_components.benchmarks.scan2cap.prompt_box import prompt_box
from threedrs_components.benchmarks.scan2cap.scorer import (
    Scan2CapScorer,
    framed,
    framed_3drs,
    framed_leo,
)
from threedrs_components.benchmarks.scorer import TextMetric
from threedrs_components.benchmarks.tally import Evaluation
from threedrs_components.metrics.bleu import bleu
from threedrs_components.metrics.cider import cider
from threedrs_components.metrics.rouge import rouge_l
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Prediction, Sample

UNIT: Box = (0.0, 0.0, 0.0, 1.0, 1.0, 1.0)
FAR: Box = (5.0, 0.0, 0.0, 1.0, 1.0, 1.0)
METRICS: tuple[TextMetric, ...] = ("bleu4", "rouge_l", "cider")
LAMP, CHAIR = "A red lamp. On it, dust", "a brown chair"


def shifted(box: Box, by: float) -> Box:
    x, y, z, dx, dy, dz = box
    return (x + by, y, z, dx, dy, dz)


def thing(
    name: str,
    box: tuple[float, ...] | None,
    *captions: str,
    prompt: tuple[float, ...] | None = None,
) -> Sample:
    tokens = "\n".join(
        caption.lower().replace(".", " .").replace(",", " ,") for caption in captions
    )
    return Sample(
        sample_id=name,
        benchmark="scan2cap",
        scene_id="s0",
        kind="text",
        prompt="",
        answers=captions,
        target_boxes=(box,) if box else (),
        box_input=prompt,
        tags={"tokens": tokens},
    )


def score(
    samples: list[Sample], predictions: list[Prediction], protocol: str = "3drs"
) -> Evaluation:
    scorer = Scan2CapScorer(protocol=protocol, text_metrics=METRICS)
    return scorer.evaluate(samples, predictions)


def expected(texts: list[str], references: list[list[str]]) -> dict[str, float]:
    return {
        "bleu4": 100 * bleu(texts, references)[3],
        "rouge_l": 100 * float(rouge_l(texts, references).mean()),
        "cider": 100 * float(cider(texts, references).mean()),
    }


def check(evaluation: Evaluation, at: str, texts: list[str], references: list[list[str]]) -> None:
    for name, value in expected(texts, references).items():
        assert evaluation.metrics[f"{name}@{at}"].value == pytest.approx(value, rel=1e-12)


def test_texts_are_framed_as_each_protocol_does() -> None:
    assert framed_3drs("A lamp, red.") == "sos a lamp ,  red .  eos"
    assert framed_3drs("") == "sos  eos"
    assert framed_leo("A lamp. Red.") == "sos A lamp . Red . eos"
    assert framed_leo(None) == framed(None) == framed("") == "sos eos"
    assert framed_leo("") == "sos  eos"
    assert framed("sos a lamp eos") == "sos a lamp eos"


@pytest.mark.parametrize(
    ("proposals", "chosen"),
    [
        ([], None),
        ([FAR, shifted(UNIT, 0.1), UNIT], UNIT),
        ([UNIT, UNIT], UNIT),
        ([shifted(UNIT, 0.4)], None),
        ([FAR] * 50 + [UNIT], None),
    ],
)
def test_the_prompt_box_is_the_best_of_the_first_fifty_proposals(
    proposals: list[Box], chosen: Box | None
) -> None:
    assert prompt_box(proposals, UNIT) == chosen


def test_3drs_gives_the_empty_caption_to_objects_without_prompt_box() -> None:
    samples = [thing("a", UNIT, LAMP, prompt=UNIT), thing("b", FAR, CHAIR, "the chair")]
    found = score(samples, [Prediction("a", text="a red lamp"), Prediction("b", text=CHAIR)])
    references = [[framed_3drs(LAMP)], [framed_3drs(CHAIR), framed_3drs("the chair")]]
    check(found, "0.5", [framed_3drs("a red lamp"), framed_3drs("")], references)
    assert "cider@0.25" not in found.metrics


def test_as_run_an_object_without_prompt_box_has_the_references_of_the_last_that_has() -> None:
    samples = [
        thing("a", FAR, CHAIR),
        thing("b", UNIT, LAMP, "a lamp", prompt=UNIT),
        thing("c", FAR, CHAIR),
        thing("d", FAR, "the door"),
    ]
    predictions = [Prediction(name, text=LAMP) for name in "abcd"]
    texts = [framed_3drs(text) for text in ("", LAMP, "", "")]
    lamp = [framed_3drs(LAMP), framed_3drs("a lamp")]
    stale = score(samples, predictions, "3drs_as_run")
    check(stale, "0.5", texts, [[framed_3drs(CHAIR)], lamp, lamp, lamp])
    assert stale.protocol == "3drs_as_run"
    assert stale.metrics["cider@0.5"] != score(samples, predictions).metrics["cider@0.5"]


def test_a_prediction_s_own_box_decides() -> None:
    samples = [thing("a", UNIT, LAMP, prompt=UNIT), thing("b", FAR, CHAIR)]
    predictions = [
        Prediction("a", text=LAMP, boxes=(shifted(UNIT, 0.5),)),
        Prediction("b", text=CHAIR, boxes=(FAR,)),
    ]
    references = [[framed_3drs(LAMP)], [framed_3drs(CHAIR)]]
    check(score(samples, predictions), "0.5", [framed_3drs(""), framed_3drs(CHAIR)], references)


def test_lines_without_any_box_were_gated_by_their_producer() -> None:
    samples = [thing("a", None, LAMP), thing("b", None, CHAIR)]
    found = score(samples, [Prediction("a", text=LAMP), Prediction("b", text="")])
    references = [[framed_3drs(LAMP)], [framed_3drs(CHAIR)]]
    check(found, "0.5", [framed_3drs(LAMP), framed_3drs("")], references)


SCENE = Prediction(
    "s0",
    boxes=(shifted(UNIT, 0.2), shifted(UNIT, 0.2), shifted(FAR, 0.5)),
    texts=("a red lamp", "red dust", "a brown seat"),
)
FIRST, SECOND, THIRD = SCENE.texts
"""They score differently, so that a wrong choice shows."""
PAIR = [thing("a", UNIT, LAMP), thing("b", FAR, CHAIR)]


def test_of_equal_boxes_3drs_takes_the_first_and_leo_the_last() -> None:
    # The third box overlaps its object by 1/3 only.
    references = [[framed_3drs(LAMP)], [framed_3drs(CHAIR)]]
    check(score(PAIR, [SCENE]), "0.5", [framed_3drs(FIRST), framed_3drs("")], references)
    check(score(PAIR, [SCENE]), "0.25", [framed_3drs(FIRST), framed_3drs(THIRD)], references)
    cased = [[framed(LAMP)], [framed(CHAIR)]]
    check(score(PAIR, [SCENE], "leo"), "0.5", [framed_leo(SECOND), "sos eos"], cased)


def test_leo_leaves_out_objects_that_were_not_predicted() -> None:
    found = score(PAIR, [Prediction("a", text=LAMP, boxes=(UNIT,))], "leo")
    check(found, "0.5", [framed_leo(LAMP)], [[framed(LAMP)]])
    assert (found.missing, found.samples) == (1, 2) and "left out" in found.missing_rule


def test_chat_scene_gates_at_both_thresholds_and_tokenises() -> None:
    found = score(PAIR, [SCENE], "chat_scene")
    references = [["sos a red lamp on it dust eos"], ["sos a brown chair eos"]]
    check(found, "0.25", [framed(FIRST), framed(THIRD)], references)
    check(found, "0.5", [framed(FIRST), "sos eos"], references)


def test_the_first_evaluator_takes_the_last_box_above_the_threshold() -> None:
    found = score(PAIR, [SCENE], "scan2cap")
    references = [["sos a red lamp . on it , dust eos"], ["sos a brown chair eos"]]
    check(found, "0.25", [framed(SECOND), framed(THIRD)], references)
    check(found, "0.5", [framed(SECOND), "sos eos"], references)


def test_the_first_evaluator_cuts_references_and_needs_more_than_the_threshold() -> None:
    long = thing("a", UNIT, " ".join(f"w{n}" for n in range(40)))
    other = thing("b", FAR, CHAIR)
    half = (0.0, 0.0, 0.0, 0.5, 1.0, 1.0)
    words = " ".join(f"w{n}" for n in range(30))
    found = score([long, other], [Prediction("a", text=words, boxes=(UNIT,))], "scan2cap")
    check(
        found,
        "0.5",
        [f"sos {words} eos", "sos eos"],
        [[f"sos {words} eos"], ["sos a brown chair eos"]],
    )
    # IoU is 0.5 up to eps: not above the threshold.
    exact = score(
        [thing("a", UNIT, LAMP), other], [Prediction("a", text=LAMP, boxes=(half,))], "scan2cap"
    )
    assert exact.metrics["cider@0.5"].value == 0.0


def test_the_benchmark_divides_by_boxes_by_objects_and_by_both() -> None:
    # Three boxes, two objects. One-to-one by enclosing volume: the lamp gets a box shifted by 0.2,
    # the chair the third, whose overlap of 1/3 passes at 0.25 only.
    scene = Prediction("s0", boxes=SCENE.boxes, texts=(f"sos {LAMP} eos", "sos x eos", "sos y eos"))
    found = score(PAIR, [scene], "benchmark")
    references = [["sos a red lamp . on it , dust eos"], ["sos a brown chair eos"]]
    segments = rouge_l([f"sos {LAMP} eos", "sos y eos"], references)
    for at, total in (("0.25", segments.sum()), ("0.5", segments[0])):
        assert found.metrics[f"rouge_l@{at}/recall"].value == pytest.approx(100 * total / 2)
        assert found.metrics[f"rouge_l@{at}/precision"].value == pytest.approx(100 * total / 3)
        assert found.metrics[f"rouge_l@{at}/f1"].value == pytest.approx(100 * 2 * total / 5)
        assert found.metrics[f"rouge_l@{at}"].value == found.metrics[f"rouge_l@{at}/f1"].value


def span(low: float, high: float, at: float = 0.0) -> tuple[float, ...]:
    """A box from low to high along x, one metre wide and high."""
    return (at + (low + high) / 2, 0.0, 0.0, high - low, 1.0, 1.0)


def recall(samples: list[Sample], boxes: list[tuple[float, ...]], at: str) -> float:
    """Share of objects the benchmark finds: every caption is its object's reference."""
    captions = tuple(f"sos {samples[0].tags['tokens']} eos" for _ in boxes)
    found = score(samples, [Prediction("s0", boxes=tuple(boxes), texts=captions)], "benchmark")
    return found.metrics[f"rouge_l@{at}/recall"].value


def test_the_benchmark_matches_boxes_by_the_room_they_enclose() -> None:
    # Objects [0, 1] and [0, 3]; boxes [1, 2] and [3, 4]. In this order (1+1)/2 - 1 + (3+1)/4 - 1
    # = 0; crosswise (3+1)/3 - 1 + (1+1)/4 - 1 = -1/6, although only [1, 2] and [0, 3] overlap.
    objects = [thing("a", span(0, 1), CHAIR), thing("b", span(0, 3), CHAIR)]
    assert recall(objects, [span(1, 2), span(3, 4)], "0.25") == 0.0
    assert recall(objects, [span(0, 1), span(1, 2)], "0.25") == pytest.approx(100.0)


def test_the_benchmark_gives_objects_left_over_the_first_box() -> None:
    # Two boxes, three objects: the one left over stands at the first box, not at the second.
    objects = [thing("a", UNIT, CHAIR), thing("b", UNIT, CHAIR), thing("c", FAR, CHAIR)]
    assert recall(objects, [UNIT, FAR], "0.5") == pytest.approx(100.0)
    assert recall(objects, [FAR, UNIT], "0.5") == pytest.approx(200 / 3)


def test_the_benchmark_compares_in_single_precision() -> None:
    # A million metres away single precision has steps of 1/16 m: a shift of 1/40 vanishes. In
    # double precision the IoU is (1/16 - 1/40) / (1/16 + 1/40), or 0.43.
    target, shifted_by = span(0, 1 / 16, 1e6), span(1 / 40, 1 / 16 + 1 / 40, 1e6)
    assert recall([thing("a", target, CHAIR)], [shifted_by], "0.5") == pytest.approx(100.0)


def test_the_benchmark_without_matches_is_zero_and_not_undefined() -> None:
    found = score(PAIR, [], "benchmark")
    assert {metric.value for metric in found.metrics.values()} == {0.0} and found.missing == 2


def test_the_assignment_score_knows_no_intersection() -> None:
    # Equal boxes: (1 + 1) / 1 - 1; shifted by a half: 2 / 1.5 - 1.
    scores = enclosure_score([UNIT, shifted(UNIT, 0.5)], [UNIT])
    np.testing.assert_allclose(scores[:, 0], [1.0, 1 / 3])


def test_protocols_that_compare_tokens_need_them() -> None:
    sample = thing("a", UNIT, LAMP)
    del sample.tags["tokens"]
    with pytest.raises(AnnotationError, match="record 0: token: is missing"):
        score([sample], [], "scan2cap")


def test_a_scene_needs_one_caption_per_box() -> None:
    with pytest.raises(AnnotationError, match="record 0: texts: 1 captions for 2 boxes"):
        score(PAIR, [Prediction("s0", boxes=(UNIT, FAR), texts=("x",))])


def test_leo_keeps_an_empty_caption_apart_from_an_object_without_box() -> None:
    # Said nothing: "sos" + blank + blank + "eos", three tokens at single spaces; no box: two.
    found = score(PAIR, [Prediction("a", text="", boxes=(UNIT,)), Prediction("b", text="")], "leo")
    references = [[framed(LAMP)], [framed(CHAIR)]]
    check(found, "0.5", ["sos  eos", "sos eos"], references)


@pytest.mark.parametrize("ready", ["A red lamp. Dust.", "sos A red lamp. Dust. eos"])
def test_leo_takes_references_as_they_come(ready: str) -> None:
    found = score(
        [thing("a", UNIT, ready), thing("b", FAR, CHAIR)],
        [
            Prediction("a", text="A red lamp. Dust.", boxes=(UNIT,)),
            Prediction("b", text=CHAIR, boxes=(FAR,)),
        ],
        "leo",
    )
    texts = ["sos A red lamp . Dust . eos", "sos a brown chair eos"]
    references = [["sos A red lamp. Dust. eos"], ["sos a brown chair eos"]]
    check(found, "0.5", texts, references)


def test_chat_scene_frames_a_caption_again_and_a_ready_reference_never() -> None:
    said = [Prediction("a", text="sos a red lamp eos", boxes=(UNIT,))]
    found = score([thing("a", UNIT, "sos a red lamp eos"), PAIR[1]], said, "chat_scene")
    texts = ["sos sos a red lamp eos eos", "sos eos"]
    check(found, "0.5", texts, [["sos a red lamp eos"], ["sos a brown chair eos"]])


@pytest.mark.parametrize("protocol", ["scan2cap", "benchmark"])
def test_protocols_that_match_boxes_need_them(protocol: str) -> None:
    with pytest.raises(AnnotationError, match="record a: boxes: are missing"):
        score(PAIR, [Prediction("a", text=LAMP)], protocol)


def test_captions_with_and_without_box_do_not_mix() -> None:
    mixed = [Prediction("a", text=LAMP, boxes=(UNIT,)), Prediction("b", text=CHAIR)]
    with pytest.raises(AnnotationError, match="record b: boxes: are missing"):
        score(PAIR, mixed)


def test_captions_without_any_box_are_taken_at_their_word_and_this_is_said() -> None:
    found = score(PAIR, [Prediction("a", text=LAMP), Prediction("b", text="")], "chat_scene")
    assert "1 captions bring no box: taken as" in found.warnings[-1]
    assert "cider@0.25" not in found.metrics


def test_a_caption_is_about_one_box() -> None:
    with pytest.raises(AnnotationError, match="record 0: boxes: 2 boxes for one object"):
        score(PAIR, [Prediction("a", text=LAMP, boxes=(UNIT, FAR))])
    with pytest.raises(AnnotationError, match="record 0: texts: belong to the boxes of a scene"):
        score(PAIR, [Prediction("a", texts=(LAMP,), boxes=(UNIT,))])
    with pytest.raises(AnnotationError, match="record 0: text: belongs to one object"):
        score(PAIR, [Prediction("s0", text=LAMP)])


def test_unknown_and_repeated_ids_are_refused() -> None:
    with pytest.raises(AnnotationError, match="unknown id 'z'"):
        score(PAIR, [Prediction("z", text="x")])
    with pytest.raises(AnnotationError, match="record 1: id: 'a' is predicted twice"):
        score(PAIR, [Prediction("a", text="x"), Prediction("a", text="y")])


def test_micro_captions_are_scored_by_their_parts() -> None:
    samples = [
        thing("a", UNIT, "a red lamp in the north east", prompt=UNIT),
        thing("b", FAR, "a blue chair in the south west", prompt=FAR),
        thing("c", FAR, "a red lamp in the north east"),
    ]
    predictions = [
        Prediction("a", text="a red lamp in the south west"),
        Prediction("b", text="a red chair in the south west"),
        Prediction("c", text="a red lamp in the north east"),
    ]
    found = score(samples, predictions)
    direction, object_part = found.metrics["direction@0.5"], found.metrics["colour_category@0.5"]
    assert direction.value == pytest.approx(100 / 3)
    assert object_part.value == pytest.approx(100 / 3)
    # Two directions occur, north east most often; the third caption has no box.
    assert direction.chance == pytest.approx(100 / 3) and direction.majority == pytest.approx(
        100 / 3
    )


def test_the_best_constant_caption_is_the_baseline() -> None:
    samples = [thing(str(n), UNIT, "a red lamp", prompt=UNIT) for n in range(3)]
    samples.append(thing("x", UNIT, "a blue chair here", prompt=UNIT))
    found = score(samples, [])
    references = [[framed_3drs(text) for text in sample.answers] for sample in samples]
    constant = [framed_3drs("a red lamp")] * 4
    assert found.metrics["cider@0.5"].majority == pytest.approx(
        100 * float(cider(constant, references).mean())
    )


def test_empty_and_unicode_captions_score() -> None:
    samples = [
        thing("a", UNIT, "", prompt=UNIT),
        thing("b", FAR, "caf\u00e9 \U0001f600", prompt=FAR),
    ]
    predictions = [Prediction("a", text=""), Prediction("b", text="\u4e2d\u6587\n\u2028")]
    for protocol in Scan2Cap.protocols:
        found = score(samples, predictions, protocol)
        assert all(np.isfinite(metric.value) for metric in found.metrics.values())
