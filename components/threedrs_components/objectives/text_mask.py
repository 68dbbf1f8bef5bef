"""Which tokens of a question the text loss learns, and which the released code labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from threedrs_components.students.tokenizer import Encoded, StudentTokenizer

if TYPE_CHECKING:
    from threedrs_components.objectives.text import TextMask


class LearnedTokens:
    """A mask as configured, for one tokenizer."""

    def __init__(self, tokenizer: StudentTokenizer, mask: TextMask) -> None:
        self._mask = mask
        self._marks = turn_marks(tokenizer)
        self._reply = len(_ids(tokenizer, tokenizer.chat.reply))

    def __call__(self, encoded: Encoded) -> tuple[bool, ...]:
        """Per token whether it is learned.

        The released mask also holds for the marks before the frames, for the first token after them
        and for the line break after the end. Those are the same in every sample and stand in the
        shared prefix, are foretold by its last state, or are never asked for; they are left out
        here, and counted by `LabelledTokens`.
        """
        if self._mask == "clean":
            return encoded.is_answer
        asked = encoded.is_answer.count(False)
        return tuple(
            place > 0 and (place >= asked - self._reply or token in self._marks)
            for place, token in enumerate(encoded.ids)
        )


class LabelledTokens:
    """How many tokens of a question's whole sequence the released code labels, and so divides by.

    All of the reply's turn, and every mark of a turn and every line break before it.
    """

    def __init__(self, tokenizer: StudentTokenizer) -> None:
        self._marks = turn_marks(tokenizer)
        reply = _ids(tokenizer, tokenizer.chat.reply)
        self._reply = len(reply)
        # The sequence's first token is a label that no token foretells.
        header = sum(token in self._marks for token in tokenizer.header[1:])
        self._around = header + _after_end(reply, tokenizer)

    def __call__(self, encoded: Encoded) -> int:
        """The number."""
        asked = encoded.is_answer.count(False)
        head = sum(token in self._marks for token in encoded.ids[: asked - self._reply])
        return self._around + head + len(encoded.ids) - (asked - self._reply)


def turn_marks(tokenizer: StudentTokenizer) -> frozenset[int]:
    """Ids of the chat's marks of turns, and of a line break."""
    chat = tokenizer.chat
    special = set(tokenizer.tokenizer.get_added_tokens_decoder())
    said = {*_ids(tokenizer, chat.header), *_ids(tokenizer, chat.reply), tokenizer.end_id}
    return frozenset((said & special) | set(_ids(tokenizer, "\n")))


def _after_end(reply: list[int], tokenizer: StudentTokenizer) -> int:
    """Tokens that stand behind the end of a turn: those between two turns in the markup."""
    if tokenizer.end_id not in reply:
        return 0
    behind = reply[reply.index(tokenizer.end_id) + 1 :]
    breaks = _ids(tokenizer, "\n")
    return len(breaks) if behind[: len(breaks)] == breaks else 0


def _ids(tokenizer: StudentTokenizer, text: str) -> list[int]:
    return list(tokenizer.tokenizer.encode(text, add_special_tokens=False).ids)
