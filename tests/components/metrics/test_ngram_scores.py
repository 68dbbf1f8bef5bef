"""BLEU, ROUGE-L and CIDEr of worked examples."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from threedrs_components.metrics.bleu import BleuReferences, bleu, bleu_from_statistics
from threedrs_components.metrics.cider import cider
from threedrs_components.metrics.rouge import longest_common_subsequence, rouge_l_item

words = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=9)


def test_bleu_of_a_worked_example() -> None:
    # Hypothesis 4 tokens, reference 5. Unigrams the, cat, sat, on: 4 of 4. Bigrams "the cat",
    # "cat sat": 2 of 3 ("sat on" is not there). Trigrams "the cat sat": 1 of 2. 4-grams: 0 of 1.
    # Brevity: exp(1 - 5/4).
    values = bleu(["the cat sat on"], [["the cat sat right on"]])
    brevity = math.exp(1 - 5 / 4)
    assert values[0] == pytest.approx(brevity, rel=1e-8)
    assert values[1] == pytest.approx(brevity * math.sqrt(2 / 3), rel=1e-8)
    assert values[2] == pytest.approx(brevity * (2 / 3 * 1 / 2) ** (1 / 3), rel=1e-8)
    assert values[3] == pytest.approx(brevity * (2 / 3 * 1 / 2 * 1e-15) ** (1 / 4), rel=1e-6)


def test_bleu_clips_repeats_at_the_best_reference_and_adds_items_up() -> None:
    # Item 1: "a a a", references hold "a" at most twice: 2 of 3. Item 2: 1 of 1. Together 3 of 4.
    # Reference lengths: closest to 3 is 2 ("a a"; 4 is as near, the shorter wins), and 1.
    counts = BleuReferences([["a a", "a b c d"], ["b"]]).statistics(["a a a", "b"])
    assert counts[:, 0].tolist() == [3, 1] and counts[:, 1].tolist() == [2, 1]
    assert bleu_from_statistics(counts.sum(axis=0))[0] == pytest.approx(3 / 4, rel=1e-8)


@pytest.mark.parametrize("text", ["", "   ", "\u00e9\u4e2d\U0001f600"])
def test_odd_texts_have_a_score(text: str) -> None:
    assert all(math.isfinite(value) for value in bleu([text], [["a b"]]))
    assert rouge_l_item(text, ["a b"]) == 0.0
    assert cider([text, "x"], [["a b"], ["x"]])[0] == 0.0


def test_rouge_takes_best_precision_and_best_recall_from_different_references() -> None:
    # "a b": against "a b c d" P 1, R 1/2; against "a" P 1/2, R 1. So P = R = 1 and F = 1.
    assert rouge_l_item("a b", ["a b c d", "a"]) == pytest.approx(1.0)
    # Against "b x x" alone: P 1/2, R 1/3, F = (1 + 1.44) PR / (R + 1.44 P).
    expected = 2.44 * (1 / 6) / (1 / 3 + 1.44 / 2)
    assert rouge_l_item("a b", ["b x x"]) == pytest.approx(expected)


def test_rouge_splits_at_single_spaces() -> None:
    # Two spaces make an empty token: "a", "", "b" against "a", "b": P 2/3, R 1.
    expected = 2.44 * (2 / 3) / (1 + 1.44 * 2 / 3)
    assert rouge_l_item("a  b", ["a b"]) == pytest.approx(expected)
    assert rouge_l_item("", [""]) == pytest.approx(1.0)


@settings(deadline=None)
@given(first=words, second=words)
def test_subsequence_length_agrees_with_the_table(first: list[str], second: list[str]) -> None:
    table = np.zeros((len(first) + 1, len(second) + 1), dtype=int)
    for row, left in enumerate(first, start=1):
        for column, right in enumerate(second, start=1):
            table[row, column] = (
                table[row - 1, column - 1] + 1
                if left == right
                else max(table[row - 1, column], table[row, column - 1])
            )
    assert longest_common_subsequence(first, second) == table[-1, -1]


def test_cider_of_a_worked_example() -> None:
    # Two items, so the weight of a gram that occurs in one item is ln 2, in both 0.
    # Item 1, "red lamp" against "red chair": the common gram "red" is in item 1 only (item 2 is
    # "blue lamp"). Unigram vectors: hypothesis red ln2, lamp ln2 (lamp is in the references of
    # item 2: df 1); reference red ln2, chair ln2. Cosine 1/2; bigrams share nothing: 0.
    # Equal lengths, so the mean over n = 1..4 is 1/8, times 10.
    assert cider(["red lamp", "x"], [["red chair"], ["blue lamp"]])[0] == pytest.approx(1.25)


def test_cider_punishes_length_by_the_number_of_bigrams() -> None:
    # "p q" against "p q p q": unigrams p, q: 1,1 and 2,2 -> clipped product (1*2 + 1*2)/(sqrt2 *
    # sqrt8) = 1. Bigrams: pq once against pq twice, qp once: 2/(1 * sqrt5). Bigram counts 1 and 3:
    # exp(-4/72). Both grams occur in one of two items: weight ln 2 cancels.
    expected = 10 / 4 * (1 + 2 / math.sqrt(5)) * math.exp(-4 / 72)
    assert cider(["p q", "z"], [["p q p q"], ["z"]])[0] == pytest.approx(expected)


def test_cider_of_a_single_item_is_zero() -> None:
    assert cider(["a b c d"], [["a b c d"]]).tolist() == [0.0]


@settings(max_examples=50, deadline=None)
@given(other=words)
def test_no_text_beats_the_reference_itself(other: list[str]) -> None:
    references = [["a b c d a"], ["b b c"], ["x y z w"]]
    best = cider(["a b c d a", "", ""], references)[0]
    assert cider([" ".join(other), "", ""], references)[0] <= best + 1e-12
