"""Dotted names of settings: which exist in a tree of configuration classes, and where they lead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from threedrs_platform.config.strict_yaml import KeyPath
from threedrs_platform.config.suggestions import nearest_path


def split_path(text: str) -> tuple[str, ...]:
    """`alignment.layers` as its parts."""
    return tuple(text.split("."))


def known_paths(config: type[BaseModel], data: Mapping[str, Any]) -> list[str]:
    """Every setting of the tree that `data` describes, as dotted names, sorted.

    Tables list the entries that `data` holds; a choice of kinds lists the kind that `data` names.
    """
    return sorted(".".join(path) for path in _leaves(config, data, ()))


def path_fault(config: type[BaseModel], path: str, data: Mapping[str, Any]) -> str | None:
    """Why a dotted name leads to no setting of the tree, or None when it does."""
    kinds: list[Any] = [config]
    here: Any = data
    parts = split_path(path)
    for length, part in enumerate(parts, 1):
        steps = [_step(kind, part, here) for kind in kinds]
        kinds = [kind for step in steps if step is not None for kind in step.kinds]
        if not kinds:
            of_others = of_other_kinds(config, parts[:length], here)
            return f"no setting {path!r}" + (
                of_others or nearest_path(path, known_paths(config, data))
            )
        here = next(step.data for step in steps if step is not None)
    return None


def carries(config: type[BaseModel], path: str, data: Mapping[str, Any], mark: object) -> bool:
    """Whether the field of a dotted name, or one above it, carries a mark."""
    kinds: list[Any] = [config]
    here: Any = data
    for part in split_path(path):
        fields = [kind.model_fields.get(part) for kind in kinds if _is_model(kind)]
        if any(field is not None and mark in field.metadata for field in fields):
            return True
        steps = [step for kind in kinds if (step := _step(kind, part, here)) is not None]
        kinds = [kind for step in steps for kind in step.kinds]
        here = steps[0].data if steps else None
    return False


@dataclass(frozen=True)
class FieldInData:
    """A setting by its path in the data, with the class that has it as a field."""

    path: KeyPath
    owner: type[BaseModel] | None
    """The class of the last part; None where a table or list holds it."""


def follow(config: type[BaseModel], location: KeyPath) -> FieldInData:
    """The setting at a location of pydantic, which names members of unions, too."""
    kind: Any = config
    path: list[str | int] = []
    owner: type[BaseModel] | None = None
    for part in location:
        members = _members(kind)
        if len(members) > 1:
            tagged = [member for member in members if part in _tags(member)]
            if not tagged:
                break
            kind = tagged[0]
            continue
        path.append(part)
        owner = members[0] if _is_model(members[0]) else None
        field = owner.model_fields.get(str(part)) if owner else None
        kind = field.annotation if field else Any if owner else _item(kind)
    return FieldInData(tuple(path), owner)


def kinds_of(config: type[BaseModel], path: KeyPath) -> list[str]:
    """The values of `kind` that may stand at a path."""
    return sorted(tag for member in _members_at(config, path) for tag in _tags(member))


def of_other_kinds(config: type[BaseModel], path: KeyPath, data: Any) -> str:
    """ "; kind ... has it", if a field is missing of the kind that stands there; else nothing.

    Args:
        config: the class at the top.
        path: of the field.
        data: what stands around the field.
    """
    own = data.get("kind") if isinstance(data, Mapping) else None
    able = sorted(
        tag
        for member in _members_at(config, path[:-1])
        if _is_model(member) and str(path[-1]) in member.model_fields
        for tag in _tags(member)
    )
    if not isinstance(own, str) or not able or own in able:
        return ""
    have = "kind {} has it" if len(able) == 1 else "kinds {} have it"
    return f": kind {own} has no {path[-1]}; {have.format(', '.join(able))}"


def _members_at(config: type[BaseModel], path: KeyPath) -> list[Any]:
    """All that may stand at a path, whatever kind stands there."""
    kind: Any = config
    for part in path:
        choices = [member for member in _members(kind) if _is_model(member)]
        fields = [m.model_fields[str(part)] for m in choices if str(part) in m.model_fields]
        kind = fields[0].annotation if fields else _item(kind)
    return _members(kind)


def switches_for_numbers(config: type[BaseModel], data: Any) -> list[KeyPath]:
    """Where the data has true or false and a number is meant; pydantic would take 1 or 0."""
    found = []
    for path in _switches(data, ()):
        kinds = _kinds_at(config, data, path)
        if kinds and all(kind in (int, float) for kind in kinds):
            found.append(path)
    return found


def _switches(data: Any, path: KeyPath) -> Iterator[KeyPath]:
    if isinstance(data, bool):
        yield path
    elif isinstance(data, Mapping):
        for name, item in data.items():
            yield from _switches(item, (*path, name))
    elif isinstance(data, list):
        for index, item in enumerate(data):
            yield from _switches(item, (*path, index))


def _kinds_at(kind: Any, data: Any, path: KeyPath) -> list[Any]:
    """What may stand at a path of the data; nothing where anything may."""
    kinds = _chosen(kind, data)
    for part in path:
        data = data[part]
        below = [_inside(each, part) for each in kinds]
        kinds = [each for inner in below if inner is not None for each in _chosen(inner, data)]
    return kinds


def _inside(kind: Any, part: str | int) -> Any:
    if _is_model(kind):
        field = kind.model_fields.get(str(part))
        return field.annotation if field else None
    return _item(kind) if get_args(kind) else None


@dataclass(frozen=True)
class _Step:
    kinds: list[Any]
    data: Any


def _step(kind: Any, part: str, data: Any) -> _Step | None:
    """One part further down: the kinds that may stand there, and the data there."""
    if _is_model(kind):
        field = kind.model_fields.get(part)
        if field is None:
            return None
        inside = _field_data(field, part, data)
        return _Step(_chosen(field.annotation, inside), inside)
    if get_origin(kind) is dict and isinstance(data, Mapping) and part in data:
        return _Step(_chosen(_item(kind), data[part]), data[part])
    return None


def _leaves(kind: Any, data: Any, path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    if _is_model(kind):
        for name, field in kind.model_fields.items():
            inside = _field_data(field, name, data)
            for member in _chosen(field.annotation, inside):
                yield from _leaves(member, inside, (*path, name))
    elif get_origin(kind) is dict and _is_table(kind):
        for name, value in (data or {}).items() if isinstance(data, Mapping) else ():
            for member in _chosen(_item(kind), value):
                yield from _leaves(member, value, (*path, str(name)))
    else:
        yield path


def _field_data(field: FieldInfo, name: str, data: Any) -> Any:
    if isinstance(data, Mapping) and name in data:
        return data[name]
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return default.model_dump() if isinstance(default, BaseModel) else default


def _chosen(annotation: Any, data: Any) -> list[Any]:
    """Members of a union that the data selects by its kind; all of them when it selects none."""
    members = _members(annotation)
    kind = data.get("kind") if isinstance(data, Mapping) else None
    return [member for member in members if kind in _tags(member)] or members


def _members(annotation: Any) -> list[Any]:
    """Members of a union, None left out; a plain annotation is its only member."""
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return [m for arg in get_args(annotation) if arg is not NoneType for m in _members(arg)]
    return [annotation]


def _tags(member: Any) -> tuple[str, ...]:
    field = member.model_fields.get("kind") if _is_model(member) else None
    if field is None or get_origin(field.annotation) is not Literal:
        return ()
    return tuple(str(tag) for tag in get_args(field.annotation))


def _item(annotation: Any) -> Any:
    arguments = [arg for arg in get_args(_members(annotation)[0]) if arg is not Ellipsis]
    return arguments[-1] if arguments else Any


def _is_table(kind: Any) -> bool:
    return any(_is_model(member) for member in _members(_item(kind)))


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
