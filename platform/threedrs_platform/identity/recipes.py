"""Who a step is: pure functions from what a step is made of to its keys.

recipe key   kind, version, code, parameters, number formats, and the recipe keys of its inputs.
             Known before anything runs, so a plan can look up the whole grid.
content key  the same with the *digests* of its inputs. Known once they exist; equal content keys
             mean equal work, however the inputs came about (early cutoff).

What cannot change the numbers stays out: resources, labels, paths, log level.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from threedrs_platform.identity.canonical import Fragments, canonical_json, quoted, word
from threedrs_platform.steps import JSON, StepSpec


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
        return sha256_text("content:" + self._text(digests))

    def json(self) -> str:
        """Canonical JSON of the recipe, as kept in the journal."""
        return self._text(self.inputs)

    def reading(self, inputs: Mapping[str, str]) -> Recipe:
        """The recipe of the same work on other inputs, by their recipe keys."""
        before, after = self._around
        if len(after) > 1:
            self.__dict__["_around"] = before, ("".join(after),)
        made = replace(self, inputs=inputs)
        made.__dict__["_around"] = self._around
        return made

    def _text(self, inputs: Mapping[str, str]) -> str:
        before, after = self._around
        told = ",".join([f"{word(name)}:{quoted(inputs[name])}" for name in sorted(inputs)])
        return "".join((*before, "{", told, "}", *after))

    @cached_property
    def _around(self) -> tuple[Sequence[str], Sequence[str]]:
        """Canonical JSON before and after the inputs, in parts that other recipes share."""
        return _around(self, Fragments())

    @cached_property
    def plain(self) -> dict[str, Any]:
        """Its fields as JSON values."""
        mappings = {"packages", "params", "inputs"}
        return {
            name: dict(getattr(self, name)) if name in mappings else getattr(self, name)
            for name in self.__dataclass_fields__
        }


def _around(recipe: Recipe, fragments: Fragments) -> tuple[Sequence[str], Sequence[str]]:
    before = f'{{"code":{word(recipe.code)},"entry":{word(recipe.entry)},"inputs":'
    kind = f',"kind":{word(recipe.kind)},"numerics":{word(recipe.numerics)},"packages":'
    after = [kind, fragments.of(recipe.packages)[0], ',"params":{']
    for number, name in enumerate(sorted(recipe.params)):
        comma = "," if number else ""
        after += [f"{comma}{word(name)}:", fragments.of(recipe.params[name])[0]]
    return [before], [*after, f'}},"version":{canonical_json(recipe.version)}}}']


def make_recipe(
    spec: StepSpec,
    code: CodeDigest,
    inputs: Mapping[str, str],
    fragments: Fragments | None = None,
) -> Recipe:
    """The recipe of a step, given its code digest and the recipe keys of its inputs.

    Args:
        fragments: of other recipes, whose parameters this one may share.

    Raises:
        TypeError, ValueError: a parameter has no canonical form; the message names the step.
    """
    fragments = fragments or Fragments()
    try:
        params = {name: fragments.of(value)[1] for name, value in spec.params.items()}
    except (TypeError, ValueError) as error:
        raise type(error)(f"step {spec.kind} {spec.label}: parameters: {error}") from error
    called = (spec.kind, spec.version, spec.entry)
    recipe = Recipe(*called, code.modules, code.packages, params, spec.numerics, inputs)
    recipe.__dict__["_around"] = _around(recipe, fragments)
    return recipe
