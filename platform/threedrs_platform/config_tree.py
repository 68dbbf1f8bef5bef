"""Plain nested settings that remember where each value was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from threedrs_platform.config_faults import build
from threedrs_platform.config_paths import split_path
from threedrs_platform.errors import Fault
from threedrs_platform.strict_yaml import Document, KeyPath, Place

Model = TypeVar("Model", bound=BaseModel)


def get_in(data: Any, path: KeyPath, default: Any = None) -> Any:
    """Value at a path of nested mappings."""
    for part in path:
        if not isinstance(data, Mapping) or part not in data:
            return default
        data = data[part]
    return data


def set_in(data: Mapping[str, Any], path: KeyPath, value: Any) -> dict[str, Any]:
    """Copy of nested mappings with the value at a path replaced; what is in the way gives way."""
    first, rest = str(path[0]), path[1:]
    if not rest:
        return {**data, first: value}
    inner = data.get(first)
    return {**data, first: set_in(inner if isinstance(inner, Mapping) else {}, rest, value)}


@dataclass(frozen=True)
class Tree:
    """Nested settings, and the place of every value in them."""

    data: dict[str, Any] = field(default_factory=dict)
    values: Mapping[KeyPath, Place] = field(default_factory=dict)
    keys: Mapping[KeyPath, Place] = field(default_factory=dict)

    def place(self, path: KeyPath, of_key: bool = False) -> Place:
        """Where the value (or key) at a path was written, else what is nearest around it."""
        if of_key and path in self.keys:
            return self.keys[path]
        for length in range(len(path), 0, -1):
            if path[:length] in self.values:
                return self.values[path[:length]]
        return Place("")

    def put(self, path: KeyPath, value: Any, document: Document, at: KeyPath) -> Tree:
        """Tree with a value set; a mapping is merged, key by key, and its keys may be dotted.

        A mapping that names another `kind` than the tree holds replaces what was there.
        """
        here = get_in(self.data, path)
        if isinstance(value, Mapping) and value and not _other_kind(here, value):
            tree = self
            for key, inner in value.items():
                tree = tree.put((*path, *split_path(key)), inner, document, (*at, key))
            return tree
        return self._replace(path, value, document, at)

    def _replace(self, path: KeyPath, value: Any, document: Document, at: KeyPath) -> Tree:
        length = len(path)
        values = {p: place for p, place in self.values.items() if p[:length] != path}
        keys = {p: place for p, place in self.keys.items() if p[:length] != path}
        for source, target in ((document.values, values), (document.keys, keys)):
            for p, place in source.items():
                if p[: len(at)] == at:
                    target[(*path, *p[len(at) :])] = place
        values.setdefault(path, document.place(at))
        keys.setdefault(path, document.place(at, of_key=True))
        return Tree(set_in(self.data, path, value), values, keys)

    def build(self, config: type[Model]) -> tuple[Model | None, list[Fault]]:
        """The configuration object, or None and all faults with their places."""
        return build(config, self.data, self.place)


def _other_kind(here: Any, value: Mapping[str, Any]) -> bool:
    return (
        isinstance(here, Mapping)
        and "kind" in here
        and "kind" in value
        and here["kind"] != value["kind"]
    )
