"""YAML that means what it says: every key and value with its line, everything ambiguous refused."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from threedrs_platform.errors import ConfigError, Fault

MOST_NODES = 100_000
"""Keys and values; more would take PyYAML longer than anybody waits for a grid file."""
MOST_BYTES = 10_000_000
"""Longer files are refused before they fill the memory (`/dev/zero`, a data set by mistake)."""
KeyPath = tuple[str | int, ...]
"""Where a value sits: mapping keys and list indices from the top."""


@dataclass(frozen=True)
class Place:
    """A spot in a file; lines and columns count from 1."""

    file: str
    line: int | None = None
    column: int | None = None


@dataclass(frozen=True)
class Document:
    """The data of one YAML text, and where each key and value of it was written."""

    file: str
    text: str
    data: dict[str, Any]
    keys: Mapping[KeyPath, Place] = field(default_factory=dict)
    values: Mapping[KeyPath, Place] = field(default_factory=dict)

    def place(self, path: KeyPath = (), *, of_key: bool = False) -> Place:
        """Place of the value (or its key) at a path, else of the nearest thing around it."""
        if of_key and path in self.keys:
            return self.keys[path]
        for length in range(len(path), -1, -1):
            if path[:length] in self.values:
                return self.values[path[:length]]
        return Place(self.file)

    def fault(self, message: str, path: KeyPath = (), *, of_key: bool = False) -> Fault:
        """A fault at a path of this document."""
        place = self.place(path, of_key=of_key)
        return Fault(message, dotted(path), place.file, place.line, place.column)


def dotted(path: KeyPath) -> str:
    """Path for people: `exclude[0].where`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def load_document(source: Path | str, file: str = "") -> Document:
    """Read a file (a Path) or a text (a str) whose top level is a mapping.

    Raises:
        ConfigError: not readable, not YAML, or something in it is ambiguous; lists all such places.
    """
    if isinstance(source, Path):
        file = file or str(source)
        text = _read(source)
    else:
        text = source
    node = _compose(text, file)
    reader = _Reader(file)
    data = reader.read(node, ()) if node is not None else None
    if reader.faults:
        raise ConfigError(reader.faults)
    if not isinstance(data, dict):
        what = "empty" if data is None else "something else"
        message = f"expected a mapping (`key: value` lines), but the file is {what}"
        raise ConfigError([Fault(message, "", file, 1, 1)])
    return Document(file, text, data, reader.keys, reader.values)


def parse_value(text: str, file: str) -> Any:
    """Value of one YAML text such as a command line flag's right side.

    Raises:
        ConfigError: as `load_document`.
    """
    node = _compose(text, file)
    reader = _Reader(file)
    value = reader.read(node, ()) if node is not None else None
    if reader.faults:
        raise ConfigError(reader.faults)
    return value


def _read(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            message = f"longer than {MOST_BYTES} bytes: is it a YAML file?"
            raise ConfigError([Fault(message, file=str(path))])
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError([Fault("no such file", file=str(path))]) from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError([Fault(f"cannot be read: {reason}", file=str(path))]) from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError([Fault("not UTF-8 text", file=str(path), line=line)]) from error


_TAGGABLE = (yaml.ScalarEvent, yaml.CollectionStartEvent)


def _refusal(event: yaml.Event, message: str) -> yaml.MarkedYAMLError:
    mark: Any = event.start_mark
    return yaml.MarkedYAMLError(problem=message, problem_mark=mark, note="refused")


class _Loader(yaml.SafeLoader):
    """Leaves plain scalars as text; refuses tags and aliases, which could grow without bound."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML reads it from the class
    nodes = 0
    """Composed until now."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose one node, unless it is an alias or carries a tag."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _refusal(
                event, f"alias *{event.anchor}: write the value out, or put it into a preset"
            )
        if isinstance(event, _TAGGABLE) and event.tag is not None:
            raise _refusal(event, f"tag {event.tag}: tags mean nothing here, write the plain value")
        self.nodes += 1
        if self.nodes > MOST_NODES:
            raise _refusal(event, f"more than {MOST_NODES} keys and values: is it a grid file?")
        return super().compose_node(parent, index)


def _compose(text: str, file: str) -> yaml.Node | None:
    try:
        loader = _Loader(text)
        node: yaml.Node | None = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
        message = error.problem if error.note else f"not valid YAML: {error.problem}"
        raise ConfigError([Fault(str(message), "", file, line, column)]) from error
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        message = f"character {error.character!r} is not allowed in YAML"
        raise ConfigError([Fault(message, "", file, line)]) from error
    except RecursionError as error:
        raise ConfigError([Fault("nested too deeply", file=file)]) from error
    except (ValueError, OverflowError) as error:
        raise ConfigError([Fault(f"not YAML: {error}", file=file)]) from error
    return node


class _Reader:
    """Turns nodes into plain data, collecting places and faults."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.keys: dict[KeyPath, Place] = {}
        self.values: dict[KeyPath, Place] = {}
        self.faults: list[Fault] = []

    def refuse(self, place: Place, message: str, path: KeyPath = ()) -> None:
        self.faults.append(Fault(message, dotted(path), place.file, place.line, place.column))

    def read(self, node: yaml.Node, path: KeyPath) -> Any:
        place = self._place(node)
        self.values[path] = place
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, place, path)

    def _place(self, node: yaml.Node) -> Place:
        return Place(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = self._place(key_node)
            key = self._scalar(key_node, place, path)
            if not isinstance(key, str):
                if key is not _REFUSED:
                    self.refuse(place, f"the key {_shown(key)} is no text; quote it", path)
                continue
            here = (*path, key)
            if key == "<<" and key_node.style is None:
                self.refuse(place, "<< merges nothing here; write the settings out", here)
                continue
            if key in data:
                first = self.keys[here].line
                self.refuse(place, f"key {key!r} is written twice (first in line {first})", here)
                continue
            self.keys[here] = place
            data[key] = self.read(value_node, here)
        return data

    def _scalar(self, node: yaml.Node, place: Place, path: KeyPath) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            return node.value
        if node.style is not None:
            return node.value
        try:
            return plain_value(node.value)
        except ValueError as error:
            self.refuse(place, str(error), path)
            return _REFUSED


_REFUSED: Any = object()


def _shown(key: Any) -> str:
    return "made of a list or mapping" if isinstance(key, list) else repr(key)


_WORDS = {"null": None, "~": None, "": None, "true": True, "false": False}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)([eE][-+]?[0-9]+)?")
_SWITCH = re.compile(r"yes|no|on|off", re.IGNORECASE)
_SEXAGESIMAL = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_OTHER_BASE = re.compile(r"[-+]?(0[0-9_]+|0[xobXOB][0-9a-fA-F_]+)")
_UNDERSCORED = re.compile(
    r"(?=.*_)[-+]?([0-9][0-9_]*(\.[0-9_]*)?|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?"
)
_ENDLESS = re.compile(r"[-+]?\.(inf|nan)", re.IGNORECASE)


def plain_value(text: str) -> Any:
    """What an unquoted YAML word stands for.

    Raises:
        ValueError: readers of YAML disagree about this word; the message says what to write.
    """
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    if _SWITCH.fullmatch(text):
        meant = "true" if text.lower() in ("yes", "on") else "false"
        raise ValueError(f"unquoted {text} is ambiguous; write {meant}, or '{text}' for the word")
    if _SEXAGESIMAL.fullmatch(text):
        raise ValueError(f"unquoted {text} could be read in base 60; write '{text}' for the text")
    if _OTHER_BASE.fullmatch(text) or _UNDERSCORED.fullmatch(text):
        raise ValueError(f"{text} is no plain decimal number; write it in decimal, or quote it")
    if _ENDLESS.fullmatch(text):
        raise ValueError(f"{text} is no finite number")
    return _number(text)


def _number(text: str) -> Any:
    if len(text) <= 400 and _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(f"{text[:40]} is too large for a number")
        return value
    return text
