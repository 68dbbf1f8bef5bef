"""How many samples and scenes the published annotations have, for plans without the files."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class SampleCount:
    """Samples of one split of one benchmark."""

    samples: int
    scenes: int


TRAINED = {
    "scanrefer": SampleCount(36_665, 562),
    "scan2cap": SampleCount(36_665, 562),
    "multi3drefer": SampleCount(43_838, 562),
    "scanqa": SampleCount(26_515, 562),
    "sqa3d": SampleCount(79_445, 518),
}
"""As 3DRS trains on them: one sample per answer of ScanQA, and per situation variant of SQA3D."""
EVALUATED = {
    ("scanrefer", "val"): SampleCount(9_508, 141),
    ("scan2cap", "val"): SampleCount(2_068, 141),
    ("multi3drefer", "val"): SampleCount(11_120, 141),
    ("scanqa", "val"): SampleCount(4_675, 71),
    ("sqa3d", "val"): SampleCount(3_261, 65),
    ("sqa3d", "test"): SampleCount(3_519, 67),
    ("vsibench", "test"): SampleCount(5_130, 288),
}
ANSWER_TOKENS = {"scanrefer": 2, "multi3drefer": 2, "scan2cap": 25, "scanqa": 5, "sqa3d": 3}
"""About, with the end mark."""
OTHER_ANSWER_TOKENS = 5
QUESTION_TOKENS = 60
"""About: marks of the turns, the sentence before the question, and the question."""
