"""Renews the leases of a supervisor from a thread of its own."""

from __future__ import annotations

import threading

from threedrs_platform.database.journal import Journal
from threedrs_platform.errors import StorageError

RENEWALS_PER_LEASE = 4
AGAIN_S = 1.0
"""Pause after a renewal that failed."""


class Heartbeat:
    """Context in which all leases of a journal's owner are kept alive.

    A database that cannot be reached for a while is no reason to stop: work goes on, and the epoch
    decides at commit time whether the lease was lost.
    """

    def __init__(self, journal: Journal, lease_s: float) -> None:
        self._journal, self._lease_s = journal, lease_s
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        self.missed = 0
        """Renewals that failed in a row."""

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._over.set()
        self._thread.join()

    def _beat(self) -> None:
        pause_s = self._lease_s / RENEWALS_PER_LEASE
        while not self._over.wait(min(pause_s, AGAIN_S) if self.missed else pause_s):
            try:
                with self._journal.database.patience(0.0):
                    self._journal.renew(self._lease_s)
                self.missed = 0
            except StorageError:
                self.missed += 1  # the epoch decides at the commit whether it mattered
