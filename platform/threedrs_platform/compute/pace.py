"""How long attempts of each kind take: what is short waits in a queue and is handled together.

To hand an attempt out and to write down what came of it takes milliseconds. Where steps take no
longer themselves, a queue keeps workers busy meanwhile, and whoever takes reports in does well to
take several at a time.
"""

from __future__ import annotations

import math
from collections import Counter

from threedrs_platform.compute.attempts import AttemptReport

QUEUED_S, MAX_AHEAD = 0.2, 16.0
"""Work that may wait in a queue for a worker, in seconds, and in attempts."""
SHORT_S, KNOWN_SHORT = 0.05, 8
"""Steps of a kind are known to be short once so many in a row have taken no longer than that."""
GATHER_S = 0.01
"""How long reports are gathered while all workers have more to do."""


class Pace:
    """What the attempts so far tell of those to come."""

    def __init__(self) -> None:
        self._usual_s: dict[str, float] = {}
        """Running mean of how long attempts of a kind take."""
        self._short: Counter[str] = Counter()
        """How many attempts of a kind have ended since the last one that was not short."""

    def note(self, kind: str, report: AttemptReport) -> None:
        """Learn from an attempt that has ended."""
        usual_s = self._usual_s.get(kind, QUEUED_S)
        self._usual_s[kind] = usual_s + (report.seconds - usual_s) / 4
        is_short = report.digest is not None and report.seconds <= SHORT_S
        self._short[kind] = self._short[kind] + 1 if is_short else 0

    def is_short(self, kind: str) -> bool:
        """Whether attempts of a kind are known to be short."""
        return self._short[kind] >= KNOWN_SHORT

    def ahead(self, kind: str) -> float:
        """How many times as many attempts may be on their way as can run, if one of this kind is
        the last: more than once as many only where that is a fifth of a second of work."""
        usual_s = self._usual_s.get(kind, QUEUED_S)
        return min(MAX_AHEAD, max(1.0, QUEUED_S / max(usual_s, 1e-3)))


def spare(running: int, slots: float) -> int:
    """How many reports may be gathered while each worker has one at work and one to follow.

    Args:
        running: attempts on their way, those that have ended among them.
        slots: how many run at a time.
    """
    return max(0, running - math.ceil(2 * slots))
