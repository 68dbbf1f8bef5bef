"""JSON and JSON Lines files, read strictly: every fault with file and place."""

from __future__ import annotations

import json
import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import Counter
from pathlib import Path
from typing import Any

from threedrs_platform.errors import AnnotationError


def read_json(path: Path) -> Any:
    """The JSON value of a file.

    Raises:
        AnnotationError: the file is missing, empty or not JSON; says where it breaks off.
    """
    text = _read_text(path)
    if not text.strip():
        raise AnnotationError(path, "-", "file", "is empty; a JSON value is expected")
    return _json_value(text, path)


def read_lines(path: Path) -> list[Any]:
    """The JSON values of a JSON Lines file, blank lines left out.

    Raises:
        AnnotationError: the file is missing, or a line is not JSON; names the line.
    """
    return [
        _json_value(line, path, number)
        for number, line in enumerate(_read_text(path).split("\n"), start=1)
        if line.strip()
    ]


def _read_text(path: Path) -> str:
    try:
        content = path.read_bytes()
        # Windows' shells write UTF-16 and say so in the first two bytes.
        marked = content.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
        text = content.decode("utf-16" if marked else "utf-8-sig")
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
        raise AnnotationError(path, "-", "file", reason) from error
    except UnicodeDecodeError as error:
        reason = f"cannot be read: not UTF-8 text (byte {error.start}); save it as UTF-8"
        raise AnnotationError(path, "-", "file", reason) from error
    if "\x00" in text:
        reason = "holds zero bytes: UTF-16 without its mark, or no text; save it as UTF-8"
        raise AnnotationError(path, "-", "file", reason)
    return text.replace("\r\n", "\n").replace("\r", "\n")


_HALF_CHARACTER = re.compile("[\ud800-\udfff]")
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def _json_value(text: str, path: Path, line: int | None = None) -> Any:
    """The value of a JSON text; half of a surrogate pair, no character, becomes U+FFFD."""
    place = "-" if line is None else f"line {line}"
    try:
        value = json.loads(text, object_pairs_hook=_object_with_distinct_keys)
        return _without_half_characters(value) if _ESCAPED_HALF.search(text) else value
    except json.JSONDecodeError as error:
        if line is None:
            place = f"line {error.lineno}, column {error.colno}"
        reason = error.msg + _cure(text, error.pos)
        raise AnnotationError(path, place, "JSON", reason) from error
    except RecursionError as error:
        raise AnnotationError(path, place, "JSON", "is nested too deeply") from error
    except ValueError as error:  # a key twice, or an integer of more than 4,300 digits
        raise AnnotationError(path, place, "JSON", str(error)) from error


def _cure(text: str, place: int) -> str:
    """What to do about the commonest mistakes; nothing about others."""
    found, before = text[place : place + 1], text[:place].rstrip()[-1:]
    if (before == "," and found in ("]", "}")) or (found == "," and not text[place + 1 :].strip()):
        return "; a comma stands behind the last value, remove it"
    if found == "'":
        return "; this is Python's own notation, write it with json.dumps"
    return ""


def _object_with_distinct_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Python keeps the last of two equal keys, and would lose a scene without a word."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(
            name for name, times in Counter(name for name, _ in pairs).items() if times > 1
        )
        raise ValueError(f"key {twice!r} occurs twice in one object; keys must be unique")
    return found


def _without_half_characters(value: Any) -> Any:
    if isinstance(value, str):
        return _HALF_CHARACTER.sub("\ufffd", value)
    if isinstance(value, list):
        return [_without_half_characters(item) for item in value]
    if isinstance(value, dict):
        return {
            _without_half_characters(name): _without_half_characters(item)
            for name, item in value.items()
        }
    return value
