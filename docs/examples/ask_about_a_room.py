"""Ask a trained cell several things about one scene of its run.

python docs/examples/ask_about_a_room.py CELL SCENE QUESTION [QUESTION ...]
"""

from __future__ import annotations

import sys

import threedrs


def main(cell: str, scene: str, *questions: str) -> None:
    """Print each answer: words, or the best box."""
    for question, answer in zip(questions, threedrs.ask(cell, scene, list(questions)), strict=True):
        print(f"{question}: {answer.choices[0] if answer.choices else answer.text}")


if __name__ == "__main__":
    main(*sys.argv[1:])
