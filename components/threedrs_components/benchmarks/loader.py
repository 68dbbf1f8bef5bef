"""The half of a benchmark that reads: annotation files in, samples out. Knows no scorer."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from threedrs_components.benchmarks.annotation_files import (
    AnnotationFiles,
    AnnotationFolder,
    Parsed,
)
from threedrs_components.benchmarks.llava_style import (
    Conversation,
    Truth,
    is_llava_style,
    llava_samples,
)
from threedrs_components.benchmarks.wording import Wording
from threedrs_platform.config import Config
from threedrs_platform.records import Sample


class Loader(Config):
    """Reads the annotations of one kind of benchmark.

    Its fields are templates of prompts: `prompt`, which a grid calls `prompts.<kind>`, or several
    of the form `prompt_<part>`, which a grid calls `prompts.<kind>_<part>`.
    """

    kind: str = ""
    wordings_share_an_id: ClassVar[bool] = False
    """Whether processed conversations have one record per wording of a question, all under its id,
    as `sqa3d_train_llava_style.json` has one per situation."""

    @abstractmethod
    def locate(self, folder: AnnotationFolder, split: str) -> AnnotationFiles:
        """The files of a split in a folder."""

    @abstractmethod
    def read(
        self, parsed: Parsed, files: AnnotationFiles, wording: Wording, split: str
    ) -> list[Sample]:
        """Samples of a split from parsed files, in file order.

        Raises:
            AnnotationError: names file, record and field of what is wrong.
        """

    def truth_of(self, record: Conversation) -> Truth | None:
        """The truth in a processed conversation; None where 3DRS released none of this kind.

        Raises:
            ValueError: the conversation's box is missing or of another kind; says which is wanted.
        """
        return None

    def samples(
        self,
        folder: AnnotationFolder,
        wording: Wording,
        split: str,
        *,
        as_evaluation: bool = False,
    ) -> list[Sample]:
        """All samples of a split of a folder, in file order.

        Args:
            folder: where the files are.
            wording: what stands around each question.
            split: "train" gives samples to train on, every other split samples to evaluate.
            as_evaluation: ask the annotations of "train" as those of another split, too.

        Raises:
            AnnotationError: names file, record and field of what is wrong.
        """
        form = "evaluation" if as_evaluation else split
        return self.samples_of(self.locate(folder, split), wording, form)

    def samples_of(self, files: AnnotationFiles, wording: Wording, split: str) -> list[Sample]:
        """Samples of some files, raw or in the processed conversations' form.

        Raises:
            AnnotationError: names file, record and field of what is wrong.
        """
        parsed = files.values()
        if len(parsed) == 1 and is_llava_style(parsed[0][1]):
            path, values = parsed[0]
            preamble = wording.preamble(split)
            shared = self.wordings_share_an_id
            return llava_samples(
                values, path, self.kind, preamble, self.truth_of, shared_ids=shared
            )
        return self.read(parsed, files, wording, split)
