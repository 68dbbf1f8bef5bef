"""Plain nested settings that remember where each value was written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel

from threedrs_platform.config.faults import build
from threedrs_platform.config.paths import split_path
from threedrs_platform.config.strict_yaml import Document, KeyPath, Place
from threedrs_platform.errors import Fault

Model = TypeVar("Model", bound=BaseModel)


def get_in(data: Any, path: KeyPath, default: Any = None) -> Any:
    """Value at a path of nested mappings."""
    for part in path:
        if not isinstance(data, Mapping) or part not in data:
            return default
        data = data[part]
    return data


def put_in(data: Mapping[str, Any], path: KeyPath, value: Any) -> dict[str, Any]:
    """Copy of nested mappings with a value set.

    A mapping is merged into what is there, key by key, and its keys may be dotted; one that names
    another `kind` replaces it. What is in the way of the path gives way.
    """
    if path:
        first, inner = str(path[0]), data.get(str(path[0]))
        if len(path) == 1 and not _merges(inner, value):
            return {**data, first: _nested(value)}
        return {**data, first: put_in(inner if isinstance(inner, Mapping) else {}, path[1:], value)}
    merged = dict(data)
    for key, item in value.items():
        merged = put_in(merged, split_path(key), item)
    return merged


@dataclass(frozen=True)
class Tree:
    """Nested settings, and the place of every value and key in them."""

    data: dict[str, Any] = field(default_factory=dict)
    values: Mapping[KeyPath, Place] = field(default_factory=dict)
    keys: Mapping[KeyPath, Place] = field(default_factory=dict)

    def place(self, path: KeyPath, of_key: bool = False) -> Place:
        """Where the value (or key) at a path was written, else what is nearest around it.

        Of a mapping that was written in part by dotted names, or that another file has changed in
        part, the place of the last change.
        """
        if of_key and path in self.keys:
            return self.keys[path]
        if path and isinstance(get_in(self.data, path), Mapping):
            own = self.values.get(path)
            inside = [place for known, place in self.values.items() if _under(known, path)]
            changes = [place for place in inside if own is None or place.file != own.file]
            if changes or own is not None:
                return changes[-1] if changes else own or Place("")
        for length in range(len(path), -1, -1):
            if path[:length] in self.values:
                return self.values[path[:length]]
        return Place("")

    def put(self, path: KeyPath, value: Any, document: Document, at: KeyPath) -> Tree:
        """Tree with a value set as by `put_in`, written at a path of a document."""
        if _merges(get_in(self.data, path), value):
            tree = self
            for key, item in value.items():
                tree = tree.put((*path, *split_path(key)), item, document, (*at, key))
            return tree
        values = {known: place for known, place in self.values.items() if not _under(known, path)}
        keys = {known: place for known, place in self.keys.items() if not _under(known, path)}
        for source, target in ((document.values, values), (document.keys, keys)):
            for written, place in source.items():
                if _under(written, at):
                    target[(*path, *_undotted(written[len(at) :]))] = place
        values.setdefault(path, document.place(at))
        keys.setdefault(path, document.place(at, of_key=True))
        return Tree(put_in(self.data, path, value), values, keys)

    def build(self, config: type[Model]) -> tuple[Model | None, list[Fault]]:
        """The configuration object, or None and all faults with their places."""
        return build(config, self.data, self.place)


def _merges(here: Any, value: Any) -> bool:
    """Whether a value is merged into what is there, rather than put in its place."""
    if not isinstance(here, Mapping) or not isinstance(value, Mapping) or not value:
        return False
    return bool(here.get("kind") == value.get("kind", here.get("kind")))


def _under(path: KeyPath, top: KeyPath) -> bool:
    return path[: len(top)] == top


def _nested(value: Any) -> Any:
    """A mapping with dotted keys as nested mappings."""
    return put_in({}, (), value) if isinstance(value, Mapping) else value


def _undotted(path: KeyPath) -> KeyPath:
    parts: list[str | int] = []
    for part in path:
        parts.extend([part] if isinstance(part, int) else split_path(part))
    return tuple(parts)
