"""The base of every configuration class: frozen, typed, unknown keys refused by name."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator

from threedrs_platform.config.suggestions import did_you_mean

__all__ = ["COLLECTING", "Config", "did_you_mean", "digest_of"]

COLLECTING = {"collecting": True}
"""Validation context under which unknown keys are reported beside all other faults."""


class Config(BaseModel):
    """Base of every configuration class."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, data: Any, info: ValidationInfo) -> Any:
        if not isinstance(data, dict) or info.context == COLLECTING:
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
        return digest_of(self.canonical())


def digest_of(value: Any) -> str:
    """First 12 hex digits of the sha256 of a JSON value, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]
