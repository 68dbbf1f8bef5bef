"""Answers drawn: the chosen box in the frames that show it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from threedrs_components.models.asking import Answer
from threedrs_components.models.scenes import AskedScene
from threedrs_components.scenes.picture import draw_boxes, frames_showing
from threedrs_platform.records import Boxes
from threedrs_platform.storage import place_errors

FRAMES = 3
WIDTH = 960
LONGEST_NAME = 48


def draw_answers(scene: AskedScene, answers: Sequence[Answer], out: Path) -> dict[int, Path]:
    """One PNG for each answer that is a box and that some frame shows, by its number.

    Raises:
        StorageError: one cannot be written.
    """
    drawn: dict[int, Path] = {}
    with place_errors(f"write {out}"):
        out.mkdir(parents=True, exist_ok=True)
        for number, answer in enumerate(answers, 1):
            path = out / f"{number:02d}-{_file_name(answer.question)}.png"
            picture = draw_answer(scene, answer)
            if picture is not None:
                picture.save(path, format="PNG")
                drawn[number] = path
    return drawn


def draw_answer(scene: AskedScene, answer: Answer) -> Image.Image | None:
    """The chosen box in the frames that show it best; None where there is no box, or none shows."""
    chosen = answer.choices[0] if answer.choices else None
    if scene.frames is None or chosen is None or chosen.box is None:
        return None
    views = frames_showing(scene.frames, chosen.box, FRAMES)
    if not views:
        return None
    label = f"{chosen.label or 'answer'} {chosen.score:.2f}"
    only = Boxes((0,), (label,), np.array([chosen.box], np.float32))
    return draw_boxes(replace(scene.frames, objects=only), views, width=WIDTH, cut_too=True)


def _file_name(question: str) -> str:
    """Letters, digits and dashes of a question: no path comes of it."""
    words = re.sub(r"[^a-z0-9]+", "-", question.lower()).strip("-")
    return words[:LONGEST_NAME].rstrip("-") or "question"
