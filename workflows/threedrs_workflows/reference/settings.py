"""Every setting with its type, default and description, read from the configuration classes."""

from __future__ import annotations

import ast
import inspect
import textwrap
import types
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from threedrs_components.benchmarks.config import ASKED, PromptConfig
from threedrs_platform.config import LATER, Config, Effectless

SIGNS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}
WORDS = {str: "text", bool: "true or false", int: "whole number", float: "number", Any: "any"}


@dataclass(frozen=True)
class Setting:
    """One field of a configuration class."""

    name: str
    takes: str
    """What may stand there, in words."""
    default: str
    """As YAML; empty if it must be given."""
    text: str
    """Its description; empty if nobody has written one."""
    marks: tuple[str, ...]
    """`CONDUCT`, `PLACE`, `REPORTED`: it is in no key."""
    sections: tuple[type[Config], ...]
    """Classes of what stands below it."""


def settings_of(owner: type[Config]) -> list[Setting]:
    """The fields of a class, inherited ones too, in the order of the class."""
    return [_setting(owner, name, field) for name, field in owner.model_fields.items()]


def sections_below(*owners: type[Config]) -> list[type[Config]]:
    """These classes and all that stand below their fields, each once, parents first."""
    found: list[type[Config]] = []
    waiting = list(owners)
    while waiting:
        owner = waiting.pop(0)
        if owner not in found:
            found.append(owner)
            below = [each for setting in settings_of(owner) for each in setting.sections]
            waiting = [*below, *waiting]
    return found


def summary(owner: type[Config]) -> str:
    """A class's own docstring on one line, without what it says of arguments; empty without one."""
    return " ".join((owner.__dict__.get("__doc__") or "").split())


def _setting(owner: type[Config], name: str, field: FieldInfo) -> Setting:
    sections = tuple(_sections(field.annotation))
    return Setting(
        name=name,
        takes=_with_bounds(_words(field.annotation), field.metadata),
        default=""
        if field.is_required()
        else _as_yaml(field.get_default(call_default_factory=True)),
        text=_description(owner, name, sections),
        marks=tuple(m.name for m in field.metadata if isinstance(m, Effectless) and m is not LATER),
        sections=sections,
    )


def _description(owner: type[Config], name: str, sections: tuple[type[Config], ...]) -> str:
    """The string below the field, in the nearest class that has one; else what its section is."""
    if name == "kind":
        return "Which of the kinds it is."
    for each in owner.__mro__:
        if text := _strings_below_fields(each).get(name):
            return text
    if owner is PromptConfig:
        benchmark = next(each for each in ASKED if name.startswith(each))
        return f"Template of the prompts of {benchmark}."
    return summary(sections[0]) if len(sections) == 1 else ""


@cache
def _strings_below_fields(owner: type) -> dict[str, str]:
    if not issubclass(owner, Config) or owner is PromptConfig:
        return {}
    (found,) = ast.parse(textwrap.dedent(inspect.getsource(owner))).body
    assert isinstance(found, ast.ClassDef)
    texts = {}
    for field, below in zip(found.body, found.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                texts[name] = " ".join(text.split())
    return texts


def _sections(annotation: Any) -> Iterator[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield annotation
    for each in get_args(annotation):
        yield from _sections(each)


def _words(annotation: Any) -> str:
    """A type in the words of a grid file."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _with_bounds(_words(args[0]), args[1:])
    if origin is Literal:
        return ", ".join(f"`{_as_yaml(each)}`" for each in args)
    if origin in (Union, types.UnionType):
        return _either(args)
    if origin is tuple:
        return f"list of {_words(args[0])}" if args[1:] == (...,) else f"list of {len(args)}"
    if origin is dict:
        return f"names, each with {_words(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return WORDS.get(annotation, "text")


def _either(args: tuple[Any, ...]) -> str:
    words = ["null" if each is types.NoneType else _words(each) for each in args]
    return " or ".join(dict.fromkeys(words))


def _with_bounds(words: str, metadata: Any) -> str:
    flat = [each for item in metadata for each in getattr(item, "metadata", [item])]
    bounds = [
        f"{sign} {getattr(each, attribute):g}"
        for each in flat
        for kind, (sign, attribute) in SIGNS.items()
        if isinstance(each, kind)
    ]
    return f"{words} {', '.join(bounds)}" if bounds else words


def _as_yaml(value: Any) -> str:
    """A default on one line, as a grid file has it; a section's is in the section."""
    if isinstance(value, BaseModel):
        return "see below"
    if isinstance(value, tuple | list):
        return f"[{', '.join(_as_yaml(each) for each in value)}]"
    if isinstance(value, dict):
        return "{}" if not value else "see below"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if value == "" or "\n" in str(value) else str(value)
