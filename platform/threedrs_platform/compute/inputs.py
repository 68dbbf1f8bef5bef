"""The artifacts that a step reads: sound before it begins, and still the same once it has read."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from threedrs_platform.compute.scratch import forget_attempts
from threedrs_platform.errors import ArtifactCorrupt, ArtifactError
from threedrs_platform.store.artifacts import ArtifactStore


class BadInputs(Exception):
    """Inputs are missing or damaged; `names` says which have to be made again."""

    def __init__(self, names: tuple[str, ...], message: str) -> None:
        self.names = names
        super().__init__(message)


class Inputs:
    """What one attempt reads."""

    def __init__(self, store: ArtifactStore, digests: Mapping[str, str], scratch: Path, n: int):
        """Inputs, none of them checked out yet.

        Args:
            store: where they are.
            digests: by name.
            scratch: of the step; what was left there of an input that is damaged now is dropped.
            n: number of the attempt.
        """
        self._store, self._digests, self._scratch, self._n = store, digests, scratch, n
        self.folders: dict[str, Path] = {}

    @contextlib.contextmanager
    def checked_out(self) -> Iterator[dict[str, Path]]:
        """Their folders by name, kept until the end.

        Raises:
            BadInputs: some are missing or damaged.
        """
        bad: dict[str, ArtifactError] = {}
        try:
            for name, digest in self._digests.items():
                try:
                    self.folders[name] = self._store.checkout(digest)
                except ArtifactError as error:
                    bad[name] = error
            if bad:
                if any(isinstance(error, ArtifactCorrupt) for error in bad.values()):
                    self._forget_work()  # an attempt that was killed may have read the damage
                reasons = [f"input {name}: {error}" for name, error in bad.items()]
                raise BadInputs(tuple(bad), "; ".join(reasons))
            yield self.folders
        finally:
            for name in self.folders:
                self._store.release(self._digests[name])

    @contextlib.contextmanager
    def read_unchanged(self) -> Iterator[None]:
        """While they are read. Nothing made of an input that changed meanwhile is ever used.

        Raises:
            BadInputs: some changed; that may be why the step failed, too.
        """
        before = {name: _identity(folder) for name, folder in self.folders.items()}
        try:
            yield
        except Exception:
            self._refuse(self._changed(before))
            raise
        except BaseException:  # the attempt was cancelled, and is so whatever it had read
            self._changed(before)
            raise
        self._refuse(self._changed(before))

    def _changed(self, before: Mapping[str, int | None]) -> list[str]:
        """Names of the inputs that changed; what was made of them is forgotten.

        Another attempt may have had a damaged one made again: then its folder is a new one.
        """
        changed = [
            name
            for name, folder in self.folders.items()
            if not self._store.is_unchanged(self._digests[name])
            or _identity(folder) != before[name]
        ]
        if changed:
            self._forget_work()
        return changed

    def _refuse(self, changed: Sequence[str]) -> None:
        if not changed:
            return
        told = "changed while the step read it; nothing made of it is kept"
        reasons = [f"input {name}: artifact {self._digests[name][:12]} {told}" for name in changed]
        gone = tuple(name for name in changed if not self._is_there(self._digests[name]))
        raise BadInputs(gone, "; ".join(reasons))

    def _forget_work(self) -> None:
        forget_attempts(self._scratch, self._n)

    def _is_there(self, digest: str) -> bool:
        """Whether the store can give it out again: a bucket can, where a copy of it changed."""
        try:
            self._store.checkout(digest)
        except ArtifactError:
            return False
        self._store.release(digest)
        return True


def _identity(folder: Path) -> int | None:
    try:
        return os.stat(folder).st_ino
    except OSError:  # set aside by another attempt
        return None
