"""Frozen typed configuration: unknown keys refused with "did you mean", all faults at once."""

from __future__ import annotations

import difflib
import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Config(BaseModel):
    """Base of every configuration class."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        unknown = [key for key in data if key not in cls.model_fields]
        if unknown:
            raise ValueError(
                "; ".join(
                    f"unknown key {key!r}{did_you_mean(str(key), cls.model_fields)}"
                    for key in unknown
                )
            )
        return data

    def canonical(self) -> dict[str, Any]:
        """JSON-ready values of every field, spelled-out defaults included."""
        return self.model_dump(mode="json")

    def fingerprint(self) -> str:
        """First 12 hex digits of the sha256 of the canonical JSON."""
        text = json.dumps(self.canonical(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def did_you_mean(word: str, known: Any) -> str:
    """'; did you mean ...?' with the nearest known name, else the list of known names."""
    names = sorted(str(name) for name in known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""
