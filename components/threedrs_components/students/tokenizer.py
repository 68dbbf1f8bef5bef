"""Text in and out of a student: chat markup and special tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from tokenizers import Tokenizer

from threedrs_components.outside_json import read_object
from threedrs_components.students.settings import Newline
from threedrs_platform.errors import CheckpointError

GROUND, COORD = "<ground>", "<coord>"
VISUAL, IMAGE = "<visual>", "<image>"
"""Placeholders: of the visual tokens, and of the images that a student has none of."""
NUMBER = "{frame}"
"""Stands for the number of a frame, from 1, in the text before it."""
TOKENIZER_FILE, CHAT_FILE = "tokenizer.json", "chat.json"


@dataclass(frozen=True)
class ChatMarkup:
    """Text around header, visual tokens, opening, prompt, reply mark, answer and end."""

    header: str
    opening: str
    reply: str
    end: str
    visual: str
    frame_start: str = ""
    """Text before the tokens of each frame; it may have a `NUMBER`, and its length may then vary"""
    frame_end: str = ""
    """Text after them"""
    newline: Newline = "none"
    """Where a learned vector stands; decided by the kind of student, whatever the markup"""

    @property
    def numbers_frames(self) -> bool:
        """Whether frames have numbers."""
        return NUMBER in self.frame_start

    def before(self, frame: int) -> str:
        """Text before the tokens of a frame, counted from 0."""
        return self.frame_start.replace(NUMBER, str(frame + 1))


MICRO_CHAT = ChatMarkup(
    header="<|user|>", opening="", reply="<|assistant|>", end="<|end|>", visual=VISUAL
)
QWEN_CHAT = ChatMarkup(
    header="<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n",
    opening="\n",
    reply="<|im_end|>\n<|im_start|>assistant\n",
    end="<|im_end|>",
    visual="",
)
"""ChatML as Qwen2 speaks it; the placeholder of visual tokens has no text."""


@dataclass(frozen=True)
class Encoded:
    """One continuation: token ids, and per token whether it is part of the answer."""

    ids: tuple[int, ...]
    is_answer: tuple[bool, ...]
    divisor: int | None = None
    """What the loss of its answer is divided by; None is the number of its answer tokens."""


@dataclass(frozen=True)
class StoredWords:
    """The tokenizer of published weights, `<ground>` and `<coord>` among its words."""

    tokenizer: Tokenizer
    are_trained: bool
    """Whether the weights know the two; else their rows are new."""

    @property
    def size(self) -> int:
        """One more than the highest id."""
        return 1 + int(max(self.tokenizer.get_vocab().values()))


class StudentTokenizer:
    """A `tokenizers` tokenizer with the chat markup it was made for."""

    def __init__(self, tokenizer: Tokenizer, chat: ChatMarkup, visual_id: int | None = None):
        self.tokenizer, self.chat = tokenizer, chat
        self.ground_id = self.token_id(GROUND)
        self.coord_id = self.token_id(COORD)
        self.end_id = self.token_id(chat.end)
        self.visual_id = self.token_id(chat.visual) if visual_id is None else visual_id
        self.header = tuple(self._ids(chat.header))
        """Ids that stand before the visual tokens."""
        self.frame_start = self.before(0)
        """Ids before the tokens of a frame: of each where frames have no numbers, else the first"""
        self.frame_end = tuple(self._ids(chat.frame_end))

    def before(self, frame: int) -> tuple[int, ...]:
        """Ids before the tokens of a frame, counted from 0."""
        return tuple(self._ids(self.chat.before(frame)))

    def frame_lengths(self, num_frames: int, grid: int) -> list[tuple[int, int, int]]:
        """Positions before, of and behind the tokens of each frame; newlines of rows are tokens."""
        rows = grid * (grid + (self.chat.newline == "row"))
        numbered = self.chat.numbers_frames
        starts = (
            self.before(frame) if numbered else self.frame_start for frame in range(num_frames)
        )
        return [(len(start), rows, len(self.frame_end)) for start in starts]

    def prefix_length(self, num_frames: int, grid: int, blind: bool = False) -> int:
        """V: the header, then for every frame its marks, `grid` rows of tokens, and newlines."""
        if blind:
            return len(self.header)
        frames = sum(map(sum, self.frame_lengths(num_frames, grid)))
        return len(self.header) + frames + (self.chat.newline == "end")

    def __len__(self) -> int:
        return int(self.tokenizer.get_vocab_size())

    def encode(self, prompt: str, answer: str | None) -> Encoded:
        """Ids after the visual prefix; without an answer they end where the reply begins."""
        asked = self._ids(self.chat.opening + prompt + self.chat.reply)
        replied = [] if answer is None else self._ids(answer)
        # `<ground>` is no text to end: its state is read, and nothing is generated behind it.
        if replied and replied != [self.ground_id]:
            replied.append(self.end_id)
        return Encoded(
            ids=tuple(asked + replied),
            is_answer=(False,) * len(asked) + (True,) * len(replied),
        )

    def decode(self, ids: Iterable[int]) -> str:
        """Text of generated ids, up to the end mark."""
        kept: list[int] = []
        for token in ids:
            if token == self.end_id:
                break
            kept.append(token)
        text = self.tokenizer.decode(kept, skip_special_tokens=True)
        if self.tokenizer.decoder is None:
            # A word tokenizer sets a space before every mark, too.
            text = re.sub(r" ([.,?!;:])", r"\1", text)
        return str(text).strip()

    def save(self, folder: Path) -> None:
        """Write the tokenizer and its markup into a checkpoint folder."""
        self.tokenizer.save(str(folder / TOKENIZER_FILE))
        content = {"chat": asdict(self.chat), "visual_id": self.visual_id}
        (folder / CHAT_FILE).write_text(json.dumps(content, indent=1, sort_keys=True))

    @classmethod
    def load(cls, folder: Path) -> StudentTokenizer:
        """Read back what `save` wrote.

        Raises:
            CheckpointError: a file is missing or unreadable.
        """
        content = read_object(folder / CHAT_FILE)
        try:
            markup, visual_id = ChatMarkup(**content["chat"]), int(content["visual_id"])
            tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        except Exception as error:  # tokenizers raises nothing narrower
            raise CheckpointError(
                f"{folder}: tokenizer cannot be read: {CHAT_FILE} or {TOKENIZER_FILE}: {error!r}; "
                "save the student again"
            ) from error
        return cls(tokenizer, markup, visual_id)

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def token_id(self, token: str) -> int:
        """Id of one token.

        Raises:
            CheckpointError: the vocabulary does not have it.
        """
        identity = self.tokenizer.token_to_id(token)
        if identity is None:
            raise CheckpointError(f"the tokenizer has no token {token!r}")
        return int(identity)
