"""Who a step is: pure functions from what a step is made of to its keys.

recipe key   kind, version, code, parameters, number formats, and the recipe keys of its inputs.
             Known before anything runs, so a plan can look up the whole grid.
content key  the same with the *digests* of its inputs. Known once they exist; equal content keys
             mean equal work, however the inputs came about (early cutoff).

What cannot change the numbers stays out: resources, labels, paths, log level.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from threedrs_platform.steps import JSON, StepSpec

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False)


def canonical_json(value: JSON) -> str:
    """One text per value: sorted keys, no spaces, no NaN.

    Raises:
        TypeError: the value holds something that is not JSON, so it has no identity.
        ValueError: the value holds NaN or an infinity.
    """
    return _CANONICAL.encode(value)


def sha256_text(text: str) -> str:
    """Hex sha256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class CodeDigest:
    """The code a step runs: its project modules, and the versions of the packages they import."""

    modules: str
    """One digest over the syntax trees of all reachable project modules."""
    packages: Mapping[str, str]
    """Version by distribution name."""


@dataclass(frozen=True)
class Recipe:
    """Everything that identifies a step, in a form that can be compared field by field."""

    kind: str
    version: int
    entry: str
    code: str
    packages: Mapping[str, str]
    params: Mapping[str, JSON]
    numerics: str
    inputs: Mapping[str, str]
    """Recipe key by input name."""

    def key(self) -> str:
        """The recipe key."""
        return sha256_text("recipe:" + self.json())

    def content_key(self, digests: Mapping[str, str]) -> str:
        """The content key, given the digest of every input's artifact."""
        assert digests.keys() == self.inputs.keys(), (digests, self.inputs)
        return sha256_text("content:" + canonical_json({**self.plain, "inputs": dict(digests)}))

    def json(self) -> str:
        """Canonical JSON of the recipe, as kept in the journal."""
        return self._json

    @cached_property
    def _json(self) -> str:
        return canonical_json(self.plain)

    @cached_property
    def plain(self) -> dict[str, Any]:
        """Its fields as JSON values."""
        mappings = {"packages", "params", "inputs"}
        return {
            name: dict(getattr(self, name)) if name in mappings else getattr(self, name)
            for name in self.__dataclass_fields__
        }


def make_recipe(spec: StepSpec, code: CodeDigest, inputs: Mapping[str, str]) -> Recipe:
    """The recipe of a step, given its code digest and the recipe keys of its inputs.

    Raises:
        TypeError, ValueError: a parameter has no canonical form; the message names the step.
    """
    try:
        params = json.loads(canonical_json(dict(spec.params)))
    except (TypeError, ValueError) as error:
        raise type(error)(f"step {spec.kind} {spec.label}: parameters: {error}") from error
    return Recipe(
        spec.kind,
        spec.version,
        spec.entry,
        code.modules,
        code.packages,
        params,
        spec.numerics,
        inputs,
    )
