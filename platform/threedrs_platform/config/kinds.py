"""Components of which there are several kinds, each in a module of its own.

A step's parameters carry the one that was chosen as a `Chosen`: the module where it lives, and its
settings. So a step imports the chosen kind and no other, and its key hashes what it imports. A
class with a field `kind` may share its module with others; one without is alone in its module.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import ModuleType
from typing import Annotated, Any, TypeVar, get_args

from pydantic import Field

from threedrs_platform.config import CONDUCT, Config, merged

C = TypeVar("C", bound=Config)


class Chosen(Config):
    """One component out of several kinds, by the module of its configuration class."""

    module: str
    settings: dict[str, Any]
    """Fields of the configuration that decide numbers, its `kind` among them."""
    rest: Annotated[dict[str, Any], CONDUCT] = Field(default_factory=dict)
    """Its other fields: places and conduct."""
    more: Annotated[tuple[str, ...], CONDUCT] = ()
    """Further modules that its code imports by names in the settings: no import statement leads to
    them, so the step's spec must name them. They follow from the settings, and add nothing."""

    def open(self, base: type[C]) -> C:
        """Import the component's module and read the settings.

        Args:
            base: what all kinds of this component inherit from.

        Raises:
            TypeError: the module holds no configuration class of this kind.
        """
        return read_kind(self.module, merged(self.settings, self.rest), base)


def choose(config: Config, more: tuple[str, ...] = ()) -> Chosen:
    """A configuration as a step's parameters carry it.

    Args:
        config: of the kind that is chosen.
        more: further modules that it imports by name.
    """
    return Chosen(
        module=type(config).__module__,
        settings=config.identity(),
        rest=config.remainder(),
        more=more,
    )


def load_modules(names: Iterable[str]) -> list[ModuleType]:
    """Modules that code imports by names in its settings: those of `Chosen.more`, and no other."""
    return [importlib.import_module(name) for name in names]


def read_kind(module: str, settings: dict[str, Any], base: type[C]) -> C:
    """Settings as a value of the configuration class that a module holds for their kind.

    Raises:
        TypeError: the module holds none.
    """
    found = configuration_class(importlib.import_module(module), settings.get("kind"), base)
    return found.model_validate(settings)


def configuration_class(module: ModuleType, kind: Any, base: type[C]) -> type[C]:
    """The subclass of `base` in a module that calls itself `kind`, or the only one if that is None.

    Raises:
        TypeError: there is none.
    """
    for value in vars(module).values():
        if isinstance(value, type) and issubclass(value, base):
            alone = kind is None and value.__module__ == module.__name__
            if alone or kind in kinds_of(value):
                return value
    raise TypeError(f"{module.__name__} holds no {base.__name__} of kind {kind!r}")


def kinds_of(config: type[Config]) -> tuple[str, ...]:
    """Names that a configuration class goes by: the values of its field `kind`."""
    field = config.model_fields.get("kind")
    return tuple(map(str, get_args(field.annotation))) if field is not None else ()
