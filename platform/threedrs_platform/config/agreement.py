"""Whether sections of a configuration, each sound by itself, fit together: asked again only where
something has changed that the answer depends on.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

Model = TypeVar("Model", bound=BaseModel)
Validator = Callable[[Any, Any], Any]


class Agreement(Generic[Model]):
    """Variants of a configuration that differ from it in whole sections.

    A field's own validators see the fields before it. What each of them looks at is watched, so
    that it is called once for every combination of what it has looked at, not once per variant.
    """

    def __init__(self, base: Model) -> None:
        """Take a configuration that is sound."""
        self._base, self._values = base, dict(base)
        kind = type(base)
        self._fields = list(kind.model_fields)
        self._always = {name for name, each in kind.model_fields.items() if each.validate_default}
        self._validators = _validators(kind)
        self._reads: dict[str, frozenset[str]] = {}
        self._known: dict[str, dict[tuple[int, ...], tuple[bool, tuple[Any, ...]]]] = {}
        """By field and ids of what it depends on: the answer, and those objects, kept alive."""
        fits = self._validators is not None and self._fits(self._values, set(self._fields))
        self._is_of_use = fits

    def variant(self, changed: Mapping[str, Any]) -> Model | None:
        """The configuration with other sections; None where it has to be built from its data: they
        do not fit together, or its class has checks that cannot be watched.

        Args:
            changed: sections by name, sound by themselves.
        """
        if not self._is_of_use or not self._fits({**self._values, **changed}, changed.keys()):
            return None
        return self._base.model_copy(update=changed)

    def _fits(self, values: Mapping[str, Any], changed: Collection[str]) -> bool:
        given = self._base.model_fields_set
        for name, validators in (self._validators or {}).items():
            reads = self._reads.get(name)
            if reads is not None and reads.isdisjoint(changed):
                continue  # it was asked about the base
            is_asked = name in given or name in changed or name in self._always
            if is_asked and not self._answer(name, validators, values):
                return False
        return True

    def _answer(self, name: str, validators: list[Validator], values: Mapping[str, Any]) -> bool:
        known = self._known.setdefault(name, {})
        reads = self._reads.get(name, frozenset({name}))
        place = tuple([id(values[each]) for each in self._fields if each in reads])
        if place in known:
            return known[place][0]
        before = {each: values[each] for each in self._fields[: self._fields.index(name)]}
        watched = _Watched(before)
        answer = _is_valid(validators, values[name], watched)
        seen = reads | watched.seen
        if seen != reads or name not in self._reads:
            known.clear()  # of answers whose places are shorter
            self._reads[name] = seen
        ordered = [each for each in self._fields if each in seen]
        objects = tuple(values[each] for each in ordered)
        known[tuple(map(id, objects))] = (answer, objects)
        return answer


def _is_valid(validators: list[Validator], value: Any, before: Mapping[str, Any]) -> bool:
    told = SimpleNamespace(data=before)
    try:
        return all(validator(value, told) is value for validator in validators)
    except (ValueError, AssertionError):
        return False


def _validators(kind: type[BaseModel]) -> dict[str, list[Validator]] | None:
    """The validators of every field that has some, in pydantic's order; None where a class has
    checks of another sort, too."""
    found = kind.__pydantic_decorators__
    checks = list(found.field_validators.values())
    if found.validators or found.root_validators or found.model_validators:
        return None
    for each in checks:
        takes_info = len(inspect.signature(each.func).parameters) == 2
        if each.info.mode != "after" or not takes_info:
            return None
    of_fields = {
        name: [each.func for each in checks if name in each.info.fields or "*" in each.info.fields]
        for name in kind.model_fields
    }
    return {name: each for name, each in of_fields.items() if each}


class _Watched(Mapping[str, Any]):
    """A mapping that remembers what was looked at."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values
        self.seen: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        value = self._values[name]  # what is absent here is absent always: it comes later
        self.seen.add(name)
        return value

    def __iter__(self) -> Iterator[str]:
        self.seen.update(self._values)
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)
