"""Training questions as conversations, in the forms of LLaVA and of ms-swift.

`scenes.conversations` of scenes of kind videos reads both again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from threedrs_components.benchmarks.text_answers import answer_in_words, question_in_words
from threedrs_components.new_folder import new_folder
from threedrs_components.scenes.frame_files import write_frames
from threedrs_components.scenes.prepared import PreparedScenes
from threedrs_platform.errors import DataError
from threedrs_platform.records import Sample

LLAVA, MS_SWIFT = "llava", "ms-swift"
FILES = {LLAVA: "llava.json", MS_SWIFT: "ms_swift.jsonl"}
"""File of each form."""
_IMAGE = "<image>"
_MARKS = (_IMAGE, "<video>")
"""Whoever reads these forms takes every one of them for what is shown, in whatever text."""


def write_conversations(
    samples: Sequence[Sample],
    prepared: PreparedScenes,
    out: Path,
    one_box: Iterable[str] = (),
    forms: Sequence[str] = tuple(FILES),
) -> dict[str, str]:
    """Write questions with their answers, and the frames they are about.

    Boxes stand in words, see `text_answers`: programs that train on these know no head for boxes.

    Args:
        samples: to train on.
        prepared: their scenes.
        out: the folder, new or empty; names of images start from it.
        one_box: benchmarks that ask for a single box.
        forms: which of `FILES`.

    Returns:
        File by form.

    Raises:
        ConfigError: the folder holds something.
        DataError: a question cannot be told in these forms.
        SceneError: a scene is not prepared.
    """
    single = frozenset(one_box)
    for sample in samples:
        _check_words(sample)
    with new_folder(out) as folder:
        frames = write_frames(prepared, (sample.scene_id for sample in samples), folder)
        for form in forms:
            record = _llava if form == LLAVA else _ms_swift
            values = (
                record(sample, frames[sample.scene_id], sample.benchmark in single)
                for sample in samples
            )
            with (folder / FILES[form]).open("w", encoding="utf-8") as lines:
                if form == LLAVA:
                    json.dump(list(values), lines, ensure_ascii=False, indent=1)
                else:
                    lines.writelines(json.dumps(v, ensure_ascii=False) + "\n" for v in values)
    return {form: FILES[form] for form in forms}


def _check_words(sample: Sample) -> None:
    """A question or answer with a mark of its own would be read with another number of images."""
    if sample.kind == "text" and not any(text.strip() for text in sample.answers[:1]):
        raise DataError(f"{sample.sample_id}: has no answer, so there is nothing to learn of it")
    told = {"question": sample.prompt, "answer": answer_in_words(sample)}
    for what, text in told.items():
        for mark in (each for each in _MARKS if each in text):
            raise DataError(
                f"{sample.sample_id}: its {what} holds the text {mark}, which stands for what is "
                "shown in these forms; reword it, or leave it out of the annotations"
            )


def _texts(sample: Sample, frames: Sequence[str], one_box: bool) -> tuple[str, str]:
    marks = f"{_IMAGE}\n" * len(frames)
    return marks + question_in_words(sample, one_box=one_box), answer_in_words(sample)


def _llava(sample: Sample, frames: Sequence[str], one_box: bool) -> dict[str, Any]:
    question, answer = _texts(sample, frames, one_box)
    return {
        "id": sample.sample_id,
        "image": list(frames),
        "conversations": [
            {"from": "human", "value": question},
            {"from": "gpt", "value": answer},
        ],
        "data_source": sample.benchmark,
    }


def _ms_swift(sample: Sample, frames: Sequence[str], one_box: bool) -> dict[str, Any]:
    question, answer = _texts(sample, frames, one_box)
    return {
        "messages": [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ],
        "images": list(frames),
    }
