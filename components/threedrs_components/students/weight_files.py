"""What a folder of weights holds, read from the headers of its safetensors files. No torch."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from threedrs_components.outside_json import CURE, part_of, read_object, told
from threedrs_components.students.folder import WEIGHTS_FILE
from threedrs_components.tensor_headers import StoredTensor, read_header
from threedrs_platform.errors import CheckpointError

INDEX_FILE = f"{WEIGHTS_FILE}.index.json"
ADAPTER_FILE = "adapter_config.json"
"""What peft writes beside LoRA deltas."""
PROJECTOR = "mm_projector"
"""Of LLaVA: a file of this name, or tensors with it in theirs, and no others."""
PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
FLOATS = ("BF16", "F16", "F32", "F64")
"""Number formats of weights, as safetensors calls them."""
WRAPPERS = ("module.", "state_dict.", "_orig_mod.", "base_model.model.", "model.")
"""What names begin with when a wrapped model, or a mapping round its tensors, was saved."""
UNPICKLE = """
import pathlib, torch; from safetensors.torch import save_file; tensors = {{}}
for file in sorted(pathlib.Path({folder!r}).glob({pattern!r})):
    held = torch.load(file, weights_only=True, map_location="cpu")
    held = held.get("state_dict", held.get("model", held))
    tensors |= {{name.removeprefix("module."): each.clone() for name, each in held.items()}}
save_file(tensors, {target!r}, {{"format": "pt"}})
"""
"""Python that makes one file of safetensors of pickled shards, and runs no code of theirs."""
UNWRAP = """
import pathlib, shutil; from safetensors.torch import load_file, save_file
old = pathlib.Path({folder!r}); new = old.with_name(old.name + "-unwrapped")
shutil.copytree(old, new, ignore=shutil.ignore_patterns("*.safetensors*"))
held = [each for file in old.glob("*.safetensors") for each in load_file(file).items()]
tensors = {{name.removeprefix({prefix!r}): each for name, each in held}}
save_file(tensors, new / "model.safetensors", {{"format": "pt"}})
"""
"""Python that takes a beginning off all names, in a copy of the folder."""
LORA = (
    "these are LoRA deltas, not a model: merge them into the weights that they were trained on "
    "(peft: model.merge_and_unload(), then save_pretrained) and name the merged folder"
)
ONLY_PROJECTOR = (
    "holds a projector only, not a model: put it into the weights that it was trained beside, and "
    "save all of them together"
)


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of a folder by its name.

    Raises:
        CheckpointError: a file is missing or cut short, there are only pickles, or the tensors are
            no model: LoRA deltas, a projector, or names inside a wrapper.
    """
    files = _weight_files(folder)
    tensors = {name: each for file in files for name, each in read_header(folder, file).items()}
    _refuse_part_of_a_model(folder, tensors)
    _refuse_quantised(folder, tensors)
    return tensors


def _refuse_quantised(folder: Path, tensors: Mapping[str, StoredTensor]) -> None:
    """Quantised weights: their numbers mean nothing without scales that we do not read."""
    weights = sorted(name for name in tensors if name.endswith((".weight", ".bias")))
    quantised = [name for name in weights if tensors[name].dtype not in FLOATS]
    if quantised:
        name = quantised[0]
        raise CheckpointError(
            f"{folder}: {name} has the format {tensors[name].dtype}: these weights are quantised; "
            "take those in bfloat16, float16 or float32"
        )


def _weight_files(folder: Path) -> list[str]:
    index = folder / INDEX_FILE
    if index.is_file():
        files = [*part_of(read_object(index), "weight_map", index).values()]
        odd = [each for each in files if not isinstance(each, str) or Path(each).name != each]
        if odd or not files:
            which = f"has {told(odd[0])}, where a file's name belongs" if odd else "names no file"
            raise CheckpointError(f"{index}: weight_map {which}; {CURE}")
        return sorted(set(files))
    if (folder / WEIGHTS_FILE).is_file():
        return [WEIGHTS_FILE]
    if (folder / ADAPTER_FILE).is_file():
        raise CheckpointError(f"{folder / ADAPTER_FILE}: {LORA}")
    pickles = sorted(path.name for path in folder.glob("*") if path.suffix in PICKLED)
    if pickles and all(PROJECTOR in name for name in pickles):
        raise CheckpointError(f"{folder / pickles[0]}: {ONLY_PROJECTOR}")
    found = f"; {_pickle_cure(folder, pickles[0])}" if pickles else ""
    raise CheckpointError(f"{folder}: neither {INDEX_FILE} nor {WEIGHTS_FILE} here{found}")


def _refuse_part_of_a_model(folder: Path, names: Collection[str]) -> None:
    if any(".lora_" in name for name in names):
        raise CheckpointError(f"{folder}: {LORA}")
    if names and all(PROJECTOR in name for name in names):
        raise CheckpointError(f"{folder}: {ONLY_PROJECTOR}")
    prefix = next((each for each in WRAPPERS if _wraps(each, names)), None)
    if prefix is not None:
        code = UNWRAP.format(folder=str(folder), prefix=prefix)
        raise CheckpointError(
            f"{folder}: every tensor's name begins with {prefix!r}, which belongs to what wrapped "
            f"the model when it was saved; take it off, in Python:\n{code}"
        )


def _wraps(prefix: str, names: Collection[str]) -> bool:
    """Whether all names begin so, and so does one that never does."""
    inner = prefix if prefix != "model." else ("model.model.", "model.lm_head.")
    return all(name.startswith(prefix) for name in names) and any(
        name.startswith(inner) for name in names
    )


def _pickle_cure(folder: Path, pickle: str) -> str:
    suffix, target = Path(pickle).suffix, str(folder / WEIGHTS_FILE)
    pattern = f"pytorch_model*{suffix}" if pickle.startswith("pytorch_model") else f"*{suffix}"
    code = UNPICKLE.format(folder=str(folder), pattern=pattern, target=target)
    return f"{pickle} is a pickle, which may run code: convert it, in Python:\n{code}"
