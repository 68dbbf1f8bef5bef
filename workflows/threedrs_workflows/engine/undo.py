"""Dictionaries that can go back to what they were before a turn whose transaction was lost."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")

_ABSENT: Any = object()


class Reversible(Protocol):
    """What a turn changes in memory."""

    def mark(self) -> None:
        """Begin a turn that may have to be taken back."""
        ...

    def roll_back(self) -> None:
        """Go back to the last mark."""
        ...


class Undoable(dict[Key, Value]):
    """A dictionary that remembers what was changed in it, one key at a time, since its mark."""

    def __init__(self) -> None:
        super().__init__()
        self._before: dict[Key, Any] = {}

    def __setitem__(self, key: Key, value: Value) -> None:
        if key not in self._before:
            self._before[key] = self.get(key, _ABSENT)
        super().__setitem__(key, value)

    def __delitem__(self, key: Key) -> None:
        if key not in self._before:
            self._before[key] = self.get(key, _ABSENT)
        super().__delitem__(key)

    def mark(self) -> None:
        """Begin to remember."""
        self._before.clear()

    def roll_back(self) -> None:
        """Take back all changes since the mark."""
        for key, value in self._before.items():
            if value is _ABSENT:
                self.pop(key, None)
            else:
                super().__setitem__(key, value)
        self._before.clear()
