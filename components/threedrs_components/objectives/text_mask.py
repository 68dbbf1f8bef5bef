"""Which tokens of a question the text loss learns: the answer, or more as the released code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from threedrs_components.students.tokenizer import Encoded, StudentTokenizer

if TYPE_CHECKING:
    from threedrs_components.objectives.text import TextMask


class LearnedTokens:
    """A mask as configured, for one tokenizer."""

    def __init__(self, tokenizer: StudentTokenizer, mask: TextMask) -> None:
        self._mask = mask
        chat = tokenizer.chat
        reply = _ids(tokenizer, chat.reply)
        special = set(tokenizer.tokenizer.get_added_tokens_decoder())
        marks = {*_ids(tokenizer, chat.header), *reply, tokenizer.end_id} & special
        self._marks = marks | set(_ids(tokenizer, "\n"))
        self._reply = len(reply)

    def __call__(self, encoded: Encoded) -> tuple[bool, ...]:
        """Per token whether it is learned.

        The released mask also holds for the marks before the frames and for the first token after
        them. Those are the same in every sample and stand in the shared prefix, or are foretold by
        its last state; they are left out here.
        """
        if self._mask == "clean":
            return encoded.is_answer
        asked = encoded.is_answer.count(False)
        return tuple(
            place > 0 and (place >= asked - self._reply or token in self._marks)
            for place, token in enumerate(encoded.ids)
        )


def _ids(tokenizer: StudentTokenizer, text: str) -> list[int]:
    return list(tokenizer.tokenizer.encode(text, add_special_tokens=False).ids)
