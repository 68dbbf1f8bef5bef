"""Which tokens are learned: the answer, or also the marks that the released code learns."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel
from torch import Tensor
from torch.nn.functional import cross_entropy

from threedrs_components.objectives.text import Normaliser, TextConfig, TextMask
from threedrs_components.objectives.text_loss import Text, text_loss
from threedrs_components.objectives.text_mask import LearnedTokens
from threedrs_components.students.tokenizer import ChatMarkup, StudentTokenizer
from threedrs_components.testing.synthetic import random_student

CHATML = ChatMarkup(
    header="<|im_start|>system\nhelpful<|im_end|>\n<|im_start|>user\n",
    opening="\n",
    reply="<|im_end|>\n<|im_start|>assistant\n",
    end="<|im_end|>",
    visual="",
)
SPECIAL = ["<|im_start|>", "<|im_end|>", "<ground>", "<coord>"]


@pytest.fixture
def tokenizer() -> StudentTokenizer:
    words = [*SPECIAL, "system", "helpful", "user", "assistant", "\n", "a", "lamp", "where", "?"]
    inner = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, unk_token="?"))
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split("\n", "isolated")]
    )
    inner.add_special_tokens(SPECIAL)
    return StudentTokenizer(inner, CHATML, visual_id=0)


def learned(tokenizer: StudentTokenizer, mask: str, prompt: str = "where\n<coord> lamp") -> str:
    encoded = tokenizer.encode(prompt, "a lamp")
    chosen = LearnedTokens(tokenizer, mask)(encoded)  # type: ignore[arg-type]
    words = [str(tokenizer.tokenizer.id_to_token(token)) for token in encoded.ids]
    return " ".join(word for word, own in zip(words, chosen, strict=True) if own)


def test_clean_learns_the_answer_and_its_end(tokenizer: StudentTokenizer) -> None:
    assert learned(tokenizer, "clean") == "a lamp <|im_end|>"


def test_released_learns_the_head_of_the_reply_and_marks_and_breaks_of_the_prompt(
    tokenizer: StudentTokenizer,
) -> None:
    reply = "<|im_end|> \n <|im_start|> assistant \n"
    assert learned(tokenizer, "released") == f"\n {reply} a lamp <|im_end|>"


def test_a_prompt_word_that_is_an_added_token_is_no_mark(tokenizer: StudentTokenizer) -> None:
    assert "<coord>" not in learned(tokenizer, "released", "where <coord>")


VISUAL_TOKENS = 7
IGNORED = -100


def released_sequence(
    tokenizer: StudentTokenizer, prompt: str, answer: str
) -> tuple[Tensor, Tensor]:
    """Ids and labels [n] as the released code makes them, from its turns and its rule for marks.

    Turn by turn `<|im_start|>ROLE`, line break, text, `<|im_end|>`, line break. The reply's turn is
    labelled whole; of the others the two marks and every line break, wherever it stands. The image
    placeholder becomes as many ignored positions as there are visual tokens.
    """
    image, words = -200, tokenizer.token_id
    start, end, line = words("<|im_start|>"), words("<|im_end|>"), words("\n")

    def text(said: str) -> list[int]:
        return list(tokenizer.tokenizer.encode(said, add_special_tokens=False).ids)

    turns: list[tuple[str, list[int], bool]] = [
        ("system", text("helpful"), False),
        ("user", [image, line, *text(prompt)], False),
        ("assistant", text(answer), True),
    ]
    ids: list[int] = []
    labels: list[int] = []
    for role, content, is_reply in turns:
        turn = [start, words(role), line, *content, end, line]
        ids += turn
        labels += [t if is_reply or t in (start, end, line) else IGNORED for t in turn]
    place = ids.index(image)
    ids[place : place + 1] = [0] * VISUAL_TOKENS
    labels[place : place + 1] = [IGNORED] * VISUAL_TOKENS
    return torch.tensor(ids), torch.tensor(labels)


def ours(
    tokenizer: StudentTokenizer, logits: Tensor, prompt: str, answer: str,
    mask: TextMask, normaliser: Normaliser,
) -> tuple[float, Tensor]:  # fmt: skip
    """Loss of one question, and the positions [A] in the whole sequence of what it learns."""
    marked = Text(TextConfig(mask=mask, normaliser=normaliser), tokenizer).mark(
        tokenizer.encode(prompt, answer)
    )
    first = len(tokenizer.header) + VISUAL_TOKENS
    learned = [place for place, own in enumerate(marked.is_answer) if own]
    places = torch.tensor(learned) + first
    targets = torch.tensor(marked.ids)[learned]
    weight = 1 / (marked.divisor or len(learned))
    loss = text_loss(logits[places - 1], targets, torch.full((len(learned),), weight))
    return float(loss), places


@pytest.mark.parametrize(
    ("prompt", "answer"), [("where", "lamp"), ("where\n<coord> lamp\n a", "a lamp a"), ("a", "?")]
)
def test_the_released_mask_and_divisor_are_those_of_the_released_code(
    tokenizer: StudentTokenizer, prompt: str, answer: str
) -> None:
    """Equal loss at every token, but for the marks of the prefix and the last line break."""
    ids, labels = released_sequence(tokenizer, prompt, answer)
    logits = torch.randn(len(ids), len(tokenizer), generator=torch.Generator().manual_seed(0))
    logits = logits.double()
    theirs = cross_entropy(logits[:-1], labels[1:], ignore_index=IGNORED)
    labelled = (labels[1:] != IGNORED).nonzero()[:, 0] + 1
    loss, places = ours(tokenizer, logits, prompt, answer, "released", "released")
    behind = len(tokenizer.header) + VISUAL_TOKENS
    left_out = [p for p in labelled.tolist() if p <= behind or p == len(ids) - 1]
    assert places.tolist() == [p for p in labelled.tolist() if p not in left_out]
    assert len(left_out) == 5 + 1 + 1
    rest = cross_entropy(logits[torch.tensor(left_out) - 1], labels[left_out], reduction="sum")
    assert loss == pytest.approx(float(theirs - rest / len(labelled)), rel=1e-6)


@pytest.mark.parametrize(
    ("mask", "normaliser", "weight"),
    [
        ("released", "released", 1 / 14), ("clean", "released", 1 / 14),
        ("released", "learned", 1 / 7), ("clean", "learned", 1 / 2),
    ],
)  # fmt: skip
def test_a_one_word_answer_weighs_a_fourteenth_as_released_whatever_is_learned(
    tokenizer: StudentTokenizer, mask: TextMask, normaliser: Normaliser, weight: float
) -> None:
    """Under a flat distribution every token costs the same: the loss is their number of weights."""
    flat = torch.zeros(60, len(tokenizer))
    loss, places = ours(tokenizer, flat, "where", "lamp", mask, normaliser)
    assert loss / float(torch.tensor(len(tokenizer)).log()) / len(places) == pytest.approx(weight)


def test_markup_without_turns_has_nothing_around_the_question() -> None:
    student = random_student()
    marked = Text(TextConfig(normaliser="released"), student.tokenizer).mark(
        student.tokenizer.encode("where", "lamp")
    )
    assert marked.divisor == len(student.tokenizer.encode("", "lamp").ids)
