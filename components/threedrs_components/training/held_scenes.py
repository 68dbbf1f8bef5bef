"""What stays in memory for another visit: so many bytes, the least recently used out first."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from torch import Tensor

GIB = 2**30


class Sized(Protocol):
    """A thing that knows how large it is."""

    @property
    def nbytes(self) -> int:
        """What it takes of the memory."""
        ...


T = TypeVar("T", bound=Sized)


class Held(Generic[T]):
    """Things by name. The newest stays, however large it is."""

    def __init__(self, most_bytes: float) -> None:
        self.most_bytes, self.nbytes = most_bytes, 0
        self._things: OrderedDict[str, T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._things)

    def get(self, name: str, make: Callable[[str], T]) -> T:
        """The thing of a name: made, unless it is held."""
        if name in self._things:
            self._things.move_to_end(name)
            return self._things[name]
        made = self._things[name] = make(name)
        self.nbytes += made.nbytes
        while self.nbytes > self.most_bytes and len(self) > 1:
            self.nbytes -= self._things.popitem(last=False)[1].nbytes
        return made


def tensor_bytes(value: Any) -> int:
    """Of all tensors and arrays in a value, however deep, those mapped from a file included."""
    if isinstance(value, Tensor | np.ndarray):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(map(tensor_bytes, value.values()))
    if isinstance(value, tuple | list):
        return sum(map(tensor_bytes, value))
    if dataclasses.is_dataclass(value):
        return sum(tensor_bytes(getattr(value, each.name)) for each in dataclasses.fields(value))
    return 0
