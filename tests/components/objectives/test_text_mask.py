"""Which tokens are learned: the answer, or also the marks that the released code learns."""

from __future__ import annotations

import pytest
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

from threedrs_components.objectives.text_mask import LearnedTokens
from threedrs_components.students.tokenizer import ChatMarkup, StudentTokenizer

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
