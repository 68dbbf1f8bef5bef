"""Correspondence score of rooms without any weights: what mean colours alone would get.

python docs/examples/score_a_folder.py DIR
"""

from __future__ import annotations

import sys

import threedrs


def main(scenes: str, min_frames: str = "8") -> None:
    """Print one row per room, the worst first."""
    found = threedrs.probe(scenes, "rgb", min_frames=int(min_frames))
    print(found.sort_values("score")[["scene", "score", "margin", "pairs"]].to_string(index=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
