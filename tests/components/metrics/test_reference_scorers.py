"""BLEU, ROUGE-L and CIDEr against the field's own code, on made texts."""

import random

import numpy as np
import pytest

from threedrs_components.metrics.bleu import BleuReferences, bleu, bleu_from_statistics
from threedrs_components.metrics.cider import cider
from threedrs_components.metrics.rouge import rouge_l

WORDS = (
    *("sos", "a", "the", "chair", "table", "is", "red", "brown", "on", "left", "of"),
    *(",", ".", "eos", "it's", "next"),
)
Texts = tuple[list[str], list[list[str]]]


def made(seed: int) -> Texts:
    draw = random.Random(seed)

    def text(longest: int) -> str:
        words = [draw.choice(WORDS) for _ in range(draw.randint(0, longest))]
        return draw.choice((" ", "  ")).join(words)

    references = [[text(14) for _ in range(draw.randint(1, 5))] for _ in range(40)]
    hypotheses = [draw.choice((text(14), draw.choice(texts))) for texts in references]
    return hypotheses, references


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_pycocoevalcap(seed: int) -> None:
    bleu_module = pytest.importorskip("pycocoevalcap.bleu.bleu")
    cider_module = pytest.importorskip("pycocoevalcap.cider.cider")
    rouge_module = pytest.importorskip("pycocoevalcap.rouge.rouge")
    hypotheses, references = made(seed)
    truth = dict(enumerate(references))
    given = {row: [text] for row, text in enumerate(hypotheses)}
    corpus, segments = bleu_module.Bleu(4).compute_score(truth, given, verbose=0)
    np.testing.assert_allclose(bleu(hypotheses, references), corpus, rtol=1e-9)
    counts = BleuReferences(references).statistics(hypotheses)
    np.testing.assert_allclose(bleu_from_statistics(counts).T, segments, rtol=1e-9)
    mean, items = rouge_module.Rouge().compute_score(truth, given)
    np.testing.assert_allclose(rouge_l(hypotheses, references), items, rtol=1e-9)
    mean, items = cider_module.Cider().compute_score(truth, given)
    np.testing.assert_allclose(cider(hypotheses, references), items, rtol=1e-9, atol=1e-12)
    assert cider(hypotheses, references).mean() == pytest.approx(mean, rel=1e-9)
