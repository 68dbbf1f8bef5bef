"""What the cells of a grid share, made once: a cell differs from the next in a section or two."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Mapping
from typing import Any, TypeVar

from pydantic import create_model

from threedrs_platform.config import Config, Effectless

T = TypeVar("T")
_PLAIN = (str, int, float, type(None))


class Written:
    """Remembers what was made of configuration objects, by the objects themselves.

    They are frozen, so what was made of one holds for ever; callers must not change it.
    """

    def __init__(self) -> None:
        self._made: dict[Hashable, Any] = {}
        self._alive: list[Any] = []
        self._alone: dict[tuple[type[Config], str], type[Config]] = {}

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
        return {
            name: self._section(type(config), name, getattr(config, name), tuple(without))
            for name in type(config).model_fields
        }

    def _section(
        self, config: type[Config], name: str, value: Any, without: tuple[Effectless, ...]
    ) -> Any:
        if isinstance(value, _PLAIN):
            return value

        def write() -> Any:
            return self._alone_with(config, name)(**{name: value}).canonical(without)[name]

        return self.once(f"{name} without {without}", write, value)

    def _alone_with(self, config: type[Config], name: str) -> Callable[..., Config]:
        """Makes values of a class that has nothing but this section."""
        if (config, name) not in self._alone:
            field = config.model_fields[name]
            fields: Mapping[str, Any] = {name: (field.annotation, field)}
            self._alone[config, name] = create_model(name, __base__=Config, **fields)
        return self._alone[config, name].model_construct
