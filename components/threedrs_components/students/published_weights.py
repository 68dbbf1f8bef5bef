"""Published weights into a transformers model: all tensors, no other ones, nothing random."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedModel

from threedrs_components.students.dtypes import stored_dtype
from threedrs_components.students.folder import WEIGHTS_FILE, read_config
from threedrs_components.students.settings import StudentSettings
from threedrs_components.students.tokenizer import COORD, GROUND, ChatMarkup, StudentTokenizer
from threedrs_platform.errors import CheckpointError

INDEX_FILE = f"{WEIGHTS_FILE}.index.json"
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
NAMED_AT_MOST = 5
"""Tensors that an error spells out; it counts the others."""


def read_published(
    config: StudentSettings, folder: Path
) -> tuple[PreTrainedModel, StudentTokenizer]:
    """The model, its weights mapped from their files, and the tokenizer in a published folder.

    Args:
        config: of the student that they are for.
        folder: config.json, weights and tokenizer.

    Raises:
        CheckpointError: another model, a tensor too few, too many or of another shape, or a file
            that cannot be read.
    """
    architecture, stored = config.architecture(), read_config(folder)
    refuse_model_type(folder, stored.get("model_type"), config.published)
    model_config, names = architecture.published_config(folder, stored, config.newline)
    model = load_published(
        architecture.model_class, folder, model_config, names, architecture.not_loaded
    )
    chat = replace(architecture.real_chat, newline=config.newline)
    visual_id = getattr(model_config, architecture.visual_token)
    tokenizer = stored_tokenizer(folder, chat, visual_id)
    fill_new_rows(folder, model, tokenizer)
    return model, tokenizer


def refuse_model_type(folder: Path, found: object, expected: Mapping[str, str]) -> None:
    """Say which published models a kind of student can start from.

    Args:
        folder: of the weights.
        found: its model_type.
        expected: by model_type, where such weights come from.

    Raises:
        CheckpointError: always, unless the type is among the expected ones.
    """
    if found not in expected:
        choices = " or ".join(f"{kind!r} ({origin})" for kind, origin in expected.items())
        raise CheckpointError(f"{folder}/config.json: model_type is {found!r}; expected {choices}")


def load_published(
    model_class: type[PreTrainedModel],
    folder: Path,
    config: PretrainedConfig,
    names: Mapping[str, str] | None,
    not_loaded: Sequence[str],
) -> PreTrainedModel:
    """Map all weights of a folder into a model, in the format that most of them have.

    Args:
        model_class: of transformers.
        folder: holds safetensors files.
        config: of the model.
        names: patterns of stored names and what they become, if transformers does not know them.
        not_loaded: patterns of tensors that a folder may hold although the model has no place for
            them.

    Raises:
        CheckpointError: a file is missing, cut short or a pickle, or a tensor is missing, not of
            this model, or of another shape.
    """
    owners = tensor_files(folder)
    loader: Any = model_class
    try:
        # Mismatches are collected, not raised, so that the error below names all of them.
        model, report = loader.from_pretrained(
            folder,
            config=config,
            key_mapping=None if names is None else dict(names),
            # In any other format transformers would copy all of them.
            dtype=stored_dtype(folder / name for name in sorted(set(owners.values()))),
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{folder}: weights cannot be loaded: {error}") from error
    _refuse_what_does_not_fit(folder, report, owners, not_loaded)
    loaded: PreTrainedModel = model
    return loaded


def tensor_files(folder: Path) -> dict[str, str]:
    """Which file of a folder holds each tensor; reads headers only.

    Raises:
        CheckpointError: a file is missing, cut short, or there are only pickles.
    """
    owners: dict[str, str] = {}
    for name in _weight_files(folder):
        try:
            with safe_open(folder / name, framework="pt") as content:
                owners |= dict.fromkeys(content.keys(), name)
        except (OSError, SafetensorError) as error:
            raise CheckpointError(f"{folder / name}: cannot be read: {error}") from error
    return owners


def stored_tokenizer(folder: Path, chat: ChatMarkup, visual_id: int) -> StudentTokenizer:
    """The checkpoint's own tokenizer with `<ground>` and `<coord>` appended.

    Args:
        folder: of the published weights.
        chat: markup that the model was trained with.
        visual_id: placeholder of a visual token.

    Raises:
        CheckpointError: the folder holds no tokenizer.
    """
    try:
        loaded: Any = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: tokenizer cannot be read: {error}") from error
    loaded.add_tokens([GROUND, COORD], special_tokens=True)
    return StudentTokenizer(loaded.backend_tokenizer, chat, visual_id)


def fill_new_rows(folder: Path, model: PreTrainedModel, tokenizer: StudentTokenizer) -> None:
    """`<ground>` and `<coord>` start as the mean of the rows before them, as released.

    Raises:
        CheckpointError: the tables have no spare row for them.
    """
    added = [tokenizer.ground_id, tokenizer.coord_id]
    ends: Any = model
    tables = [ends.get_input_embeddings().weight, ends.get_output_embeddings().weight]
    rows = len(tables[0])
    placeholders = {tokenizer.visual_id, getattr(model.config, "image_token_id", None)}
    if max(added) >= rows or placeholders & set(added):
        raise CheckpointError(
            f"{folder}: the embedding table ({rows} rows) has no room for special tokens {added}"
        )
    with torch.no_grad():
        for table in tables:
            table[added] = table[: min(added)].mean(0, dtype=torch.float32).to(table.dtype)


def _weight_files(folder: Path) -> list[str]:
    index = folder / INDEX_FILE
    if index.is_file():
        try:
            return sorted(set(json.loads(index.read_text())["weight_map"].values()))
        except (OSError, ValueError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{index}: cannot be read: {error!r}") from error
    if (folder / WEIGHTS_FILE).is_file():
        return [WEIGHTS_FILE]
    pickles = sorted(path.name for path in folder.glob("*") if path.suffix in PICKLED)
    found = f"; {pickles[0]} is a pickle, which may run code: convert it" if pickles else ""
    raise CheckpointError(f"{folder}: neither {INDEX_FILE} nor {WEIGHTS_FILE} here{found}")


def _refuse_what_does_not_fit(
    folder: Path, report: Mapping[str, Any], owners: Mapping[str, str], not_loaded: Sequence[str]
) -> None:
    """Raise what transformers only prints before it goes on with random tensors."""
    extra = [
        name
        for name in report["unexpected_keys"]
        if not any(re.search(pattern, name) for pattern in not_loaded)
    ]
    misshaped = {name: (stored, wanted) for name, stored, wanted in report["mismatched_keys"]}
    faults = [
        _listed("missing", [(name, "") for name in report["missing_keys"]]),
        _listed("not of this model", [(name, _origin(name, owners)) for name in extra]),
        _listed(
            "of another shape",
            [
                (name, f": {tuple(stored)}, not {tuple(wanted)}{_origin(name, owners)}")
                for name, (stored, wanted) in misshaped.items()
            ],
        ),
    ]
    if any(faults):
        raise CheckpointError(f"{folder}: " + "; ".join(fault for fault in faults if fault))


def _listed(what: str, tensors: Iterable[tuple[str, str]]) -> str:
    named = [name + detail for name, detail in sorted(tensors)]
    if not named:
        return ""
    shown = ", ".join(named[:NAMED_AT_MOST])
    more = "" if len(named) <= NAMED_AT_MOST else f", and {len(named) - NAMED_AT_MOST} more"
    subject = "tensor is" if len(named) == 1 else "tensors are"
    return f"{len(named)} {subject} {what} ({shown}{more})"


def _origin(name: str, owners: Mapping[str, str]) -> str:
    """The file whose tensor shares most of the name's end: loading may have renamed it."""
    wanted = name.split(".")[::-1]

    def shared(stored: str) -> int:
        parts = stored.split(".")[::-1]
        equal = [one == other for one, other in zip(wanted, parts, strict=False)]
        return equal.index(False) if False in equal else len(equal)

    best = max(owners, key=shared, default="")
    return f" in {owners[best]}" if best else ""
