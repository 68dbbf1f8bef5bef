"""Published weights into a transformers model: all tensors, no other ones, nothing random."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError, safe_open
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoTokenizer, PretrainedConfig, PreTrainedModel

from threedrs_components.students.dtypes import stored_dtype
from threedrs_components.students.settings import StudentSettings
from threedrs_components.students.start import check_published, reading
from threedrs_components.students.student import Student
from threedrs_components.students.tokenizer import COORD, GROUND, StoredWords, StudentTokenizer
from threedrs_components.students.weight_files import stored_tensors
from threedrs_components.tensor_headers import StoredTensor
from threedrs_platform.errors import CheckpointError

OUTPUT_TABLE = "lm_head.weight"
MOST_TIMES = 2
"""Weights of a model for one in its files: a word table that serves twice is stored once."""
NAMED_AT_MOST = 5
"""Tensors that an error spells out; it counts the others."""


def read_published(
    config: StudentSettings, folder: Path, for_use: bool = True
) -> tuple[PreTrainedModel, StudentTokenizer]:
    """The model, its weights mapped from their files, and the tokenizer in a published folder.

    Args:
        config: of the student that they are for.
        folder: config.json, weights and tokenizer.
        for_use: whether the settings of use must fit the weights, too.

    Raises:
        CheckpointError: another model, a tensor too few, too many or of another shape, or a file
            that cannot be read or contradicts the others.
    """
    with reading(folder, StrictDataclassError):
        return _read(config, folder, for_use)


def _read(
    config: StudentSettings, folder: Path, for_use: bool
) -> tuple[PreTrainedModel, StudentTokenizer]:
    architecture, stored = config.architecture(), check_published(config, folder, for_use)
    words = stored_words(folder, architecture.trained_ids(stored))
    model_config, names = architecture.published_config(folder, stored, words)
    visual_id = getattr(model_config, architecture.visual_token)
    tokenizer = StudentTokenizer(words.tokenizer, architecture.markup(config), visual_id)
    refuse_no_room(folder, model_config, tokenizer)
    if not any(name.endswith(OUTPUT_TABLE) for name in stored_tensors(folder)):
        text: Any = model_config.get_text_config()
        # Qwen3-VL's class asks the whole configuration alone, and files may only say it of a part.
        model_config.tie_word_embeddings |= getattr(text, "tie_word_embeddings", False)
    model = load_published(
        architecture.model_class,
        folder,
        model_config,
        names,
        architecture.not_loaded,
        architecture.published_tensors(folder, stored),
    )
    _say_what_is_tied(model)
    if not words.are_trained:
        grow_tables(model, words.size)
        fill_new_rows(model, tokenizer)
    return model, tokenizer


def load_published(
    model_class: type[PreTrainedModel],
    folder: Path,
    config: PretrainedConfig,
    names: Mapping[str, str] | None,
    not_loaded: Sequence[str],
    tensors: dict[str, Tensor] | None = None,
) -> PreTrainedModel:
    """Map all weights of a folder into a model, in the format that most of them have.

    Args:
        model_class: of transformers.
        folder: holds safetensors files.
        config: of the model.
        names: patterns of stored names and what they become, if transformers does not know them.
        not_loaded: patterns of tensors that a folder may hold although the model has no place for
            them.
        tensors: all of the folder's under the model's names, where renaming is not enough.

    Raises:
        CheckpointError: a file is missing, cut short or a pickle, or a tensor is missing, not of
            this model, or of another shape.
    """
    stored = stored_tensors(folder)
    owners = {name: tensor.file for name, tensor in stored.items()}
    _refuse_other_size(folder, model_class, config, stored.values())
    loader: Any = model_class
    try:
        # Mismatches are collected, not raised, so that the error below names all of them.
        model, report = loader.from_pretrained(
            folder if tensors is None else None,
            state_dict=tensors,
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


def _refuse_other_size(
    folder: Path,
    model_class: type[PreTrainedModel],
    config: PretrainedConfig,
    stored: Iterable[StoredTensor],
) -> None:
    """Say so before what the files lack is made up: it may be more than the memory holds."""
    with torch.device("meta"):
        wanted = sum(each.numel() for each in model_class(config).parameters())
    held = sum(math.prod(each.shape) for each in stored)
    if wanted > MOST_TIMES * held:
        raise CheckpointError(
            f"{folder}/config.json: describes a model of {wanted:,} weights, and the files hold "
            f"{held:,}; take the config.json that was published with them"
        )


def stored_words(folder: Path, trained: Sequence[int]) -> StoredWords:
    """The checkpoint's own tokenizer, with `<ground>` and `<coord>` appended where it lacks them.

    Where it has them they stay as they are: the released ones are no special tokens, so that an
    answer keeps them.

    Args:
        folder: of the published weights.
        trained: ids that config.json gives the two; none where it does not know them.

    Raises:
        CheckpointError: the folder holds no tokenizer, or one that knows one of the two, or has
            them in another place than config.json.
    """
    try:
        # Without the argument transformers asks on a terminal whether to run a folder's code.
        loaded: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder}: tokenizer cannot be read: {error}") from error
    tokenizer: Tokenizer = loaded.backend_tokenizer
    known = [tokenizer.token_to_id(token) for token in (GROUND, COORD)]
    if known.count(None) == 1:
        one, other = (GROUND, COORD) if known[1] is None else (COORD, GROUND)
        raise CheckpointError(
            f"{folder}: the tokenizer has {one} and not {other}; take the one that was saved with "
            "the weights"
        )
    if None in known:
        loaded.add_tokens([GROUND, COORD], special_tokens=True)
    found = [tokenizer.token_to_id(token) for token in (GROUND, COORD)]
    if trained and found != list(trained):
        raise CheckpointError(
            f"{folder}: config.json has {GROUND} and {COORD} at {list(trained)}, the tokenizer at "
            f"{found}; take the tokenizer that was saved with the weights"
        )
    return StoredWords(tokenizer, are_trained=bool(trained) or None not in known)


def refuse_no_room(folder: Path, config: PretrainedConfig, tokenizer: StudentTokenizer) -> None:
    """Say so where `<ground>` and `<coord>` have no rows of their own.

    Raises:
        CheckpointError: other words lie behind the table, or they are placeholders of visual
            tokens. Where nothing but they lies behind it, it grows (see `grow_tables`).
    """
    added = [tokenizer.ground_id, tokenizer.coord_id]
    rows = config.get_text_config().vocab_size
    placeholders = {tokenizer.visual_id, getattr(config, "image_token_id", None)}
    taken = [each for each in added if each in placeholders]
    if min(added) > rows or taken:
        why = f"{taken} are its placeholders of visual tokens"
        why = why if taken else f"the tokenizer has {min(added)} words before them"
        raise CheckpointError(
            f"{folder}: the embedding table ({rows} rows) has no room for special tokens {added}: "
            f"{why}. Take the tokenizer that was published with the weights, or enlarge the tables "
            "(transformers: model.resize_token_embeddings) and save again"
        )


def grow_tables(model: PreTrainedModel, words: int) -> None:
    """Rows for all words, where tables end with the published ones; those stay as they are."""
    grown: Any = model
    if grown.config.get_text_config().vocab_size < words:
        grown.resize_token_embeddings(words, mean_resizing=False)


def fill_new_rows(model: PreTrainedModel, tokenizer: StudentTokenizer) -> None:
    """`<ground>` and `<coord>` start as the mean of the rows before them, as released."""
    added = [tokenizer.ground_id, tokenizer.coord_id]
    ends: Any = model
    tables = [ends.get_input_embeddings().weight, ends.get_output_embeddings().weight]
    with torch.no_grad():
        for table in tables:
            table[added] = table[: min(added)].mean(0, dtype=torch.float32).to(table.dtype)


def _say_what_is_tied(model: PreTrainedModel) -> None:
    """Where files hold two word tables there are two, whatever config.json says of them.

    Else what is saved of them would be read back as one.
    """
    ends: Any = model
    if ends.get_output_embeddings().weight is not ends.get_input_embeddings().weight:
        for part in (ends.config, ends.config.get_text_config()):
            part.tie_word_embeddings = False


def load_heads(folder: Path, student: Student) -> None:
    """The trained grounding head of published weights, where they hold one.

    Raises:
        CheckpointError: one of its tensors is missing, or of another shape.
    """
    found = {
        ours: (name, tensor.file)
        for name, tensor in stored_tensors(folder).items()
        if (ours := _renamed(name, student.head_names)) != name
    }
    if not found:
        return
    tensors = {}
    for ours, (name, file) in found.items():
        with safe_open(folder / file, framework="pt") as content:
            tensors[ours] = content.get_tensor(name)
    try:
        student.grounding.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{folder}: grounding head: {error}") from error


def _renamed(name: str, patterns: Mapping[str, str]) -> str:
    for pattern, replacement in patterns.items():
        name = re.sub(pattern, replacement, name)
    return name


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
        told = [fault for fault in faults if fault]
        if [*report["missing_keys"]] == [OUTPUT_TABLE]:
            told.append(
                "if its word table is its output table as well, config.json must say "
                "tie_word_embeddings: true"
            )
        raise CheckpointError(f"{folder}: " + "; ".join(told))


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
