"""What the cells of a grid share, made once: a cell differs from the next in a section or two."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from functools import cache, lru_cache
from typing import Any, TypeVar

from pydantic import create_model

from threedrs_platform.config import Config, Effectless
from threedrs_platform.identity.canonical import canonical_json

T = TypeVar("T")
_PLAIN = (str, int, float, type(None))


@lru_cache(maxsize=4096, typed=True)
def _word(plain: str | float | None) -> str:
    return canonical_json(plain)


@cache
def _alone_with(config: type[Config], name: str) -> type[Config]:
    """A class that has nothing but this section; pydantic takes milliseconds to make one."""
    field = config.model_fields[name]
    fields: Mapping[str, Any] = {name: (field.annotation, field)}
    return create_model(name, __base__=Config, **fields)


class Written:
    """Remembers what was made of configuration objects, by the objects themselves.

    They are frozen, so what was made of one holds for ever; callers must not change it.
    """

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}
        self._alive: list[Any] = []

    def once(self, name: str, make: Callable[[], T], *of: object) -> T:
        """What `make` returns; it is called once for these objects."""
        key = (name, *map(id, of))
        if key not in self._made:
            self._made[key] = make()
            self._alive.append(of)  # an id names an object only while it lives
        made: T = self._made[key]
        return made

    def canonical(self, config: Config, without: Collection[Effectless] = ()) -> dict[str, Any]:
        """As `config.canonical(without)`, each section written once; the sections are shared."""
        marks, data = tuple(without), dict(config)
        for name, value in data.items():
            if not isinstance(value, _PLAIN):
                key = (name, marks, id(value))
                if key not in self._made:
                    alone = _alone_with(type(config), name).model_construct(**{name: value})
                    self._made[key] = alone.canonical(marks)[name]
                    self._alive.append(value)
                data[name] = self._made[key]
        return data

    def json(self, value: Any) -> str:
        """As `canonical_json(value)`; a mapping inside it is written once, and must not change."""
        if isinstance(value, dict):
            parts = [f"{_word(name)}:{self._text(value[name])}" for name in sorted(value)]
            return f"{{{','.join(parts)}}}"
        return self._text(value)

    def _text(self, value: Any) -> str:
        if isinstance(value, list):
            return f"[{','.join(map(self._text, value))}]"
        if isinstance(value, dict):
            return self.once("json", lambda: canonical_json(value), value)
        return _word(value)
