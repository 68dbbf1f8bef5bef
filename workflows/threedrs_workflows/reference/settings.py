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
    """Dotted."""
    takes: str
    """What may stand there, in words."""
    default: str
    """As YAML; empty if it must be given."""
    text: str
    """Its description; empty if nobody has written one."""
    marks: tuple[str, ...]
    """`CONDUCT`, `PLACE`, `REPORTED`: it is in no key."""
    sections: tuple[Section, ...]
    """What stands below it, one for each kind."""


@dataclass(frozen=True)
class Section:
    """A configuration class where it stands in a grid file."""

    path: str
    """Dotted, as `teachers.NAME`; NAME stands for a name that the grid gives. Empty at the top."""
    owner: type[Config]

    def __truediv__(self, name: str) -> str:
        """The dotted name of a field."""
        return f"{self.path}.{name}" if self.path else name


def settings_of(section: Section) -> list[Setting]:
    """The fields of a section, inherited ones too, in the order of its class."""
    fields = section.owner.model_fields.items()
    return [_setting(section, name, field) for name, field in fields]


def sections_below(*sections: Section) -> list[Section]:
    """These sections and all below their fields, each class once, parents first."""
    found: dict[type[Config], Section] = {}
    waiting = list(sections)
    while waiting:
        section = waiting.pop(0)
        if section.owner not in found:
            found[section.owner] = section
            below = [each for setting in settings_of(section) for each in setting.sections]
            waiting = [*below, *waiting]
    return list(found.values())


def summary(owner: type[Config]) -> str:
    """A class's own docstring on one line, without what it says of arguments; empty without one."""
    return " ".join((owner.__dict__.get("__doc__") or "").split())


def _setting(section: Section, name: str, field: FieldInfo) -> Setting:
    sections = tuple(_sections(field.annotation, section / name))
    return Setting(
        name=section / name,
        takes=_with_bounds(_words(field.annotation), field.metadata),
        default=""
        if field.is_required()
        else _as_yaml(field.get_default(call_default_factory=True)),
        text=_description(section.owner, name, sections),
        marks=tuple(m.name for m in field.metadata if isinstance(m, Effectless) and m is not LATER),
        sections=sections,
    )


def _description(owner: type[Config], name: str, sections: tuple[Section, ...]) -> str:
    """The string below the field, in the nearest class that has one; else what its section is."""
    if name == "kind":
        return "Which of the kinds it is."
    for each in owner.__mro__:
        if text := _strings_below_fields(each).get(name):
            return text
    if owner is PromptConfig:
        benchmark = next(each for each in ASKED if name.startswith(each))
        return f"Template of the prompts of {benchmark}."
    return summary(sections[0].owner) if len(sections) == 1 else ""


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


def _sections(annotation: Any, path: str) -> Iterator[Section]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        yield Section(path, annotation)
    named = get_origin(annotation) is dict
    for each in get_args(annotation):
        yield from _sections(each, f"{path}.NAME" if named else path)


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
