"""ScanQA, SQA3D and VSI-Bench by every protocol."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from threedrs_components.benchmarks.annotation_files import AnnotationFiles
from threedrs_components.benchmarks.registry import BENCHMARKS
from threedrs_components.benchmarks.revsi.scorer import ReVSIScorer
from threedrs_components.benchmarks.scanqa.config import ScanQA
from threedrs_components.benchmarks.scanqa.loader import question_class
from threedrs_components.benchmarks.scanqa.scorer import ScanQAScorer
from threedrs_components.benchmarks.scorer import TextMetric
from threedrs_components.benchmarks.sqa3d.config import SQA3D
from threedrs_components.benchmarks.sqa3d.loader import SQA3DLoader, question_type
from threedrs_components.benchmarks.sqa3d.scorer import SQA3DScorer
from threedrs_components.benchmarks.tally import Evaluation
from threedrs_components.benchmarks.vsibench.questions import (
    CHOICE,
    NUMERIC,
    TASKS,
    QuestionType,
)
from threedrs_components.benchmarks.vsibench.scorer import VSIBenchScorer
from threedrs_components.benchmarks.wording import Wording
from threedrs_components.metrics.bleu import bleu
from threedrs_components.metrics.cider import cider
from threedrs_components.metrics.rouge import rouge_l
from threedrs_platform.errors import AnnotationError
from threedrs_platform.records import Prediction, Sample

METRICS: tuple[TextMetric, ...] = ("bleu1", "bleu4", "rouge_l", "cider")


def asked(name: str, *answers: str, kind: str = "", **tags: str) -> Sample:
    return Sample(name, "qa", "s0", "text", "", answers, question_type=kind, tags=tags)


def said(**texts: str) -> list[Prediction]:
    return [Prediction(name, text=text) for name, text in texts.items()]


def scanqa(samples: list[Sample], predictions: list[Prediction], protocol: str) -> Evaluation:
    scorer = ScanQAScorer(protocol=protocol, text_metrics=METRICS)
    return scorer.evaluate(samples, predictions)


QUESTIONS = [
    asked("a", "brown", "dark brown"),
    asked("b", "Left of the door."),
    asked("c", "two", "2"),
    asked("d", "the chair"),
]
ANSWERS = said(a="brown.", b="Left of the door.", c="two chairs", d="Chair")


@pytest.mark.parametrize(
    ("protocol", "exact", "refined"),
    [
        # Raw: only b is equal to a reference, dot included.
        ("3drs", 1, None),
        ("official", 1, None),
        # Cleaned on both sides: brown, left of door, chair; c contains "two".
        ("leo", 3, 4),
        # The prediction alone is cleaned, so b ("left of door") and d ("chair") are no longer
        # equal; "chair" is inside "the chair", "leftofdoor" is not inside "Leftofthedoor.".
        ("chat_scene", 1, 3),
    ],
)
def test_exact_and_refined_match(protocol: str, exact: int, refined: int | None) -> None:
    found = scanqa(QUESTIONS, ANSWERS, protocol)
    assert found.metrics["em@1"].value == 25 * exact
    if refined is None:
        assert "em_refined" not in found.metrics
    else:
        assert found.metrics["em_refined"].value == 25 * refined


@pytest.mark.parametrize(
    ("protocol", "texts", "references"),
    [
        (
            "3drs",
            ["brown", "Left of the door", "two chairs", "Chair"],
            [["brown", "dark brown"], ["Left of the door."], ["two", "2"], ["the chair"]],
        ),
        (
            "official",
            ["brown", "left of the door", "two chairs", "chair"],
            [["brown", "dark brown"], ["left of the door"], ["two", "2"], ["the chair"]],
        ),
        (
            "leo",
            ["brown", "left of door", "two chairs", "chair"],
            [["brown", "dark brown"], ["left of door"], ["two", "two"], ["chair"]],
        ),
        (
            "chat_scene",
            ["brown", "left of door", "two chairs", "chair"],
            [["brown", "dark brown"], ["left of the door"], ["two", "2"], ["the chair"]],
        ),
    ],
)
def test_what_the_text_scores_compare(
    protocol: str, texts: list[str], references: list[list[str]]
) -> None:
    metrics = scanqa(QUESTIONS, ANSWERS, protocol).metrics
    assert metrics["bleu1"].value == pytest.approx(100 * bleu(texts, references)[0])
    assert metrics["bleu4"].value == pytest.approx(100 * bleu(texts, references)[3])
    assert metrics["cider"].value == pytest.approx(100 * cider(texts, references).mean())
    assert metrics["rouge_l"].value == pytest.approx(100 * rouge_l(texts, references).mean())


def test_ranked_answers_also_count_among_the_first_ten() -> None:
    ranked = [f"w{number}" for number in range(9)]
    predictions = [
        Prediction("a", texts=("red", "brown")),
        Prediction("b", texts=("x", *ranked, "Left of the door.")),
    ]
    found = scanqa(QUESTIONS, predictions, "official")
    # a has its answer in second place; b in eleventh.
    assert found.metrics["em@10"].value == 25.0 and found.metrics["em@1"].value == 0.0
    assert "em@10" not in scanqa(QUESTIONS, ANSWERS, "official").metrics


def test_baselines_guess_within_the_question_type() -> None:
    samples = [
        asked("a", "red", kind="Color"),
        asked("b", "red", kind="Color"),
        asked("c", "blue", kind="Color"),
        asked("d", "two", kind="Number"),
    ]
    metric = scanqa(samples, [], "3drs").metrics["em@1"]
    # Colour: two answers, red twice of three. Number: one answer.
    assert metric.chance == pytest.approx(100 * (3 * 0.5 + 1) / 4)
    assert metric.majority == pytest.approx(100 * (2 + 1) / 4)


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("Where is it?", "Place"),
        ("How many chairs?", "Number"),
        ("What is the color of it?", "Color"),
        ("What type of chair?", "Object nature"),
        ("What is it?", "Object"),
        ("Is it? Where?", "Place"),
        ("where is it?", "Other"),
    ],
)
def test_questions_have_the_classes_of_the_official_script(question: str, kind: str) -> None:
    assert question_class(question) == kind


def test_missing_and_odd_answers_score() -> None:
    odd = said(a="", b="\u4e2d\u6587\u2028 \U0001f600", c="   ")
    for protocol in ScanQA.protocols:
        found = scanqa(QUESTIONS, odd, protocol)
        assert found.missing == 1 and found.metrics["em@1"].n == 4
        assert all(np.isfinite(metric.value) for metric in found.metrics.values())


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        (" What is it?", "what"),
        ("Whatever", "what"),
        ("IS it", "is"),
        ("How", "how"),
        ("Can I", "can"),
        ("Which", "which"),
        ("Are there", "others"),
        ("Island", "is"),
    ],
)
def test_sqa3d_types_are_beginnings_of_the_question(question: str, kind: str) -> None:
    assert question_type(question) == kind


def test_the_real_slice_scores_as_counted_by_hand(sqa3d_slice: Path) -> None:
    samples = SQA3DLoader().samples_of(AnnotationFiles((sqa3d_slice,)), Wording(), "test")
    assert len(samples) == 240
    counts = {kind: sum(s.question_type == kind for s in samples) for kind in ("what", "is", "how")}
    assert counts == {"what": 66, "is": 45, "how": 37}
    # Question by question: answer copied, wrong, empty, upper-cased, and so on.
    predictions = []
    for number, sample in enumerate(samples):
        truth = sample.answers[0]
        text = (truth, "zebra", "", truth.upper())[number % 4]
        predictions.append(Prediction(sample.sample_id, text=text))
    exact = SQA3DScorer(protocol="3drs").evaluate(samples, predictions)
    assert exact.metrics["em"].value == 50.0 and exact.missing == 0
    # The empty answer is contained in every answer for LEO, in none for Chat-Scene.
    leo = SQA3DScorer(protocol="leo").evaluate(samples, predictions)
    assert leo.metrics["em_refined"].value == 75.0
    chat = SQA3DScorer(protocol="chat_scene").evaluate(samples, predictions)
    assert chat.metrics["em_refined"].value == 50.0
    per_type = {kind: group["em"].n for kind, group in exact.per_type.items()}
    assert sum(per_type.values()) == 240


TEN = [
    # Truth and answer of ten real kinds, and whether they match after cleaning, by hand.
    ("180 degrees", "180 Degrees.", 1),
    ("left", "letf", 1),
    ("2", "two", 1),
    ("TV", "the tv", 1),
    ("backwards", "backward", 1),
    ("brown", "dark brown", 0),
    ("yes", "no", 0),
    ("chair", "", 0),
    ("6 o'clock", "six oclock", 1),
    ("a trash can", "trash can", 1),
]


@pytest.mark.parametrize(("truth", "answer", "match"), TEN)
def test_ten_answers_by_hand(truth: str, answer: str, match: int) -> None:
    for protocol in SQA3D.protocols:
        found = SQA3DScorer(protocol=protocol).evaluate(
            [asked("a", truth, kind="what")], said(a=answer)
        )
        assert found.metrics["em"].value == 100 * match
        assert found.per_type["what"]["em"].value == 100 * match


def spatial(name: str, kind: str, truth: str, options: int = 0) -> Sample:
    return asked(name, truth, kind=kind, options=str(options))


SPATIAL = [
    spatial("count", "object_counting", "4"),
    spatial("near", "object_counting", "2"),
    spatial("easy", "object_rel_direction_easy", "A", 2),
    spatial("easy2", "object_rel_direction_easy", "B", 2),
    spatial("medium", "object_rel_direction_medium", "A", 4),
    spatial("hard", "object_rel_direction_hard", "A", 4),
    spatial("route", "route_planning", "C", 4),
]


def test_vsibench_averages_tasks_and_not_questions() -> None:
    predictions = said(
        count="3 chairs", near="2.", easy="A. left", easy2="a", medium="B", hard="a.", route="c"
    )
    found = VSIBenchScorer(protocol="official").evaluate(SPATIAL, predictions)
    per_type = {kind: group["average"].value for kind, group in found.per_type.items()}
    # Counting: relative error 1/4 gives .6, then 1. Direction: mean of 1/2, 0, 1.
    assert per_type["object_counting"] == pytest.approx(80.0)
    assert per_type["object_rel_direction_easy"] == pytest.approx(50.0)
    assert per_type["rel_direction"] == pytest.approx(50.0)
    assert per_type["route_planning"] == pytest.approx(100.0)
    assert found.metrics["average"].value == pytest.approx((80 + 50 + 100) / 3)
    interval = found.metrics["average"].ci95
    assert interval is not None and interval[0] <= found.metrics["average"].value <= interval[1]


def test_chance_is_one_out_of_the_options_and_unknown_for_numbers() -> None:
    found = VSIBenchScorer(protocol="official").evaluate(SPATIAL, [])
    assert found.per_type["route_planning"]["average"].chance == 25.0
    assert found.per_type["object_counting"]["average"].chance is None
    assert found.missing == 7 and found.metrics["average"].value == 0.0


@pytest.mark.parametrize(
    ("text", "official", "lmms_eval"),
    [("4", 100, 100), ("about 4", 0, 100), ("four", 0, 100), ("4m", 0, 100), ("", 0, 0)],
)
def test_numbers_are_read_as_each_protocol_does(
    text: str, official: float, lmms_eval: float
) -> None:
    samples = [spatial("a", "object_abs_distance", "4")]
    samples += [spatial(kind, f"object_rel_direction_{kind}", "A", 2) for kind in LEVELS]
    for protocol, value in (("official", official), ("lmms_eval", lmms_eval)):
        found = VSIBenchScorer(protocol=protocol).evaluate(samples, said(a=text))
        assert found.per_type["abs_distance"]["average"].value == value


LEVELS = ("easy", "medium", "hard")


def test_every_question_type_belongs_to_a_task() -> None:
    assert set(get_args(QuestionType)) == NUMERIC.keys() | CHOICE.keys() and len(TASKS) == 8


def test_newer_lmms_eval_rounds_and_needs_all_directions() -> None:
    samples = [spatial(str(n), "route_planning", "A", 2) for n in range(3)]
    samples += [spatial(kind, f"object_rel_direction_{kind}", "A", 2) for kind in LEVELS]
    found = VSIBenchScorer(protocol="lmms_eval").evaluate(samples, [Prediction("0", text="A")])
    assert found.per_type["route_planning"]["average"].value == 33.3333
    with pytest.raises(AnnotationError, match="there is no object_rel_direction_hard"):
        VSIBenchScorer(protocol="lmms_eval").evaluate(samples[:-1], [])


def test_the_evaluation_is_json() -> None:
    found = scanqa(QUESTIONS, ANSWERS, "leo")
    content = json.loads(json.dumps(found.as_json()))
    assert content["protocol"] == "leo" and content["missing"] == 0
    assert set(content["metrics"]["em@1"]) == {"value", "unit", "n", "ci95", "chance", "majority"}


def test_chat_scene_takes_the_final_dot_off_its_answers_and_not_off_references() -> None:
    # Cleaning trims blanks before it drops dots: the reference keeps the blank before its dot.
    found = SQA3DScorer(protocol="chat_scene").evaluate(
        [asked("a", "left .", kind="what")], said(a="left .")
    )
    assert (found.metrics["em"].value, found.metrics["em_refined"].value) == (0.0, 100.0)


DIRECTION = "object_rel_direction_"


@pytest.mark.parametrize(
    ("levels", "average", "warning"),
    [
        (("easy", "medium", "hard"), (1 / 3 + 1) / 2, None),
        # thinking-in-space averages three tasks: medium 0, hard 0, route 1.
        (("medium", "hard"), 1 / 3, "each other level is a task of its own"),
        (("hard",), 1 / 2, "each other level is a task of its own"),
        # It stops here; the mean of the levels there is what it would have.
        (("easy", "hard"), (1 / 2 + 1) / 2, "is the mean of those there"),
        ((), 1.0, None),
    ],
)
def test_absent_levels_of_direction_count_as_in_the_reference(
    levels: tuple[str, ...], average: float, warning: str | None
) -> None:
    samples = [spatial(level, DIRECTION + level, "A", 2) for level in levels]
    samples.append(spatial("route", "route_planning", "A", 2))
    said_right = {each.sample_id: "A" for each in samples if each.sample_id in ("easy", "route")}
    said_wrong = {each.sample_id: "B" for each in samples if each.sample_id not in said_right}
    found = VSIBenchScorer(protocol="official").evaluate(samples, said(**said_right, **said_wrong))
    assert found.metrics["average"].value == pytest.approx(100 * average)
    assert (warning in " ".join(found.warnings)) if warning else not found.warnings


TEN_UNREAD = ("(A)", "**A**", "A)", "A:", "The answer is A", "Option A", "<A>", "A\n\nA", " A", "")


def test_letters_that_cannot_be_read_are_said_beside_the_score() -> None:
    samples = [spatial(str(n), "route_planning", "A", 4) for n in range(11)]
    answers = {str(n): text for n, text in enumerate((*TEN_UNREAD, "a. left"))}
    found = VSIBenchScorer(protocol="official").evaluate(samples, said(**answers))
    assert found.metrics["average"].value == pytest.approx(100 / 11)
    [unread] = found.unread
    assert (unread.count, unread.of) == (10, 11)
    assert unread.examples == ("'(A)'", "'**A**'", "'A)'")
    assert found.as_json()["unread"][0]["count"] == 10


def test_revsi_says_what_it_cannot_read_and_what_the_commonest_answer_gets() -> None:
    samples = [spatial(str(n), "route_planning", "AAB"[n], 4) for n in range(3)]
    samples += [spatial(str(n), "object_abs_distance", "3") for n in (3, 4)]
    answers = {"0": "(A)", "1": "A", "2": "A", "3": "about 3", "4": "3"}
    found = ReVSIScorer(protocol="lmms_eval").evaluate(samples, said(**answers))
    assert [(each.count, each.of) for each in found.unread] == [(1, 3), (1, 2)]
    average = found.metrics["average"]
    assert average.value == pytest.approx(100 * (1 / 3 + 1 / 2) / 2)
    assert average.majority == pytest.approx(100 * (2 / 3 + 1) / 2) and average.chance is None
    assert found.per_type["route_planning"]["average"].chance == 25


@pytest.mark.parametrize(("protocol", "unread"), [("official", 3), ("lmms_eval", 1)])
def test_numbers_that_cannot_be_read_are_said(protocol: str, unread: int) -> None:
    samples = [spatial(str(n), "object_counting", "3") for n in range(4)]
    samples += [spatial(kind, DIRECTION + kind, "A", 2) for kind in LEVELS]
    answers = {"0": "The answer is 3", "1": "three", "2": "3", "3": "many"}
    found = VSIBenchScorer(protocol=protocol).evaluate(samples, said(**answers))
    assert [each.count for each in found.unread] == [unread]


def test_each_source_has_its_average_and_its_missing_answers() -> None:
    def from_source(name: str, source: str, truth: str = "A") -> Sample:
        return asked(name, truth, kind="route_planning", options="4", dataset=source)

    samples = [from_source("a", "scannet"), from_source("b", "scannet", "B")]
    samples += [from_source("c", "scannetpp"), from_source("d", "scannetpp")]
    found = VSIBenchScorer(protocol="official").evaluate(samples, said(a="A", b="A"))
    metrics = {metric.name: metric for metric in found.flat()[0]}
    assert metrics["vsibench/average"].value == 25.0
    assert metrics["vsibench/average/scannet"].value == 50.0
    assert metrics["vsibench/average/scannetpp"].value == 0.0
    assert metrics["vsibench/missing/scannet"].value == 0
    assert (metrics["vsibench/missing/scannetpp"].value, found.missing) == (2, 2)
    said_beside = " ".join(found.warnings)
    assert "no question of scannetpp has a prediction" in said_beside
    assert "no question is about arkitscenes: the average is not that of VSI-Bench" in said_beside


@pytest.mark.parametrize("mark", ["left\n", "\nleft", "left<|im_end|>", "left</s>", "left\t"])
@pytest.mark.parametrize("kind", ["sqa3d", "scanqa"])
def test_marks_that_stay_part_of_an_answer_are_said(kind: str, mark: str) -> None:
    benchmark = BENCHMARKS[kind]()
    samples = [asked("a", "left", kind="what"), asked("b", "left", kind="what")]
    scorer = benchmark.scorer(protocol=benchmark.default_protocol, text_metrics=())
    found = scorer.evaluate(samples, said(a=mark, b="left"))
    [unread] = found.unread
    assert (unread.count, unread.of, unread.examples) == (1, 2, (repr(mark),))
