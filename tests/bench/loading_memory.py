"""Memory of the host that loading a student takes: mapped from its file, and copied as it was.

python tests/bench/loading_memory.py             a student of about 1 G parameters, in every way
python tests/bench/loading_memory.py --size 7b   also one of 7b, in a file of zeros without blocks
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MIDDLE: dict[str, Any] = {
    "vocab_size": 64_000, "hidden_size": 1536, "intermediate_size": 4096,
    "num_hidden_layers": 14, "num_attention_heads": 12, "num_key_value_heads": 4,
}  # fmt: skip
FULL: dict[str, Any] = {
    "vocab_size": 152_064, "hidden_size": 3584, "intermediate_size": 18944,
    "num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4,
}  # fmt: skip
WAYS = {
    "mapped": "load_student(folder, stored_config(folder))",
    "mapped, every page read": "read_all(load_student(folder, stored_config(folder)))",
    "float32 asked for": "load_student(folder, stored_config(folder), 'float32')",
    "as it was: copied to float32": "as_it_was(folder)",
}
PROGRAM = """
import resource, sys
from pathlib import Path
import torch
from safetensors.torch import load_file
from threedrs_components.students.checkpoints import load_student
from threedrs_components.students.registry import stored_config

def memory():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    found = {line.split()[0]: int(line.split()[1]) / 2**20 for line in lines if line.split()[1:]}
    return found["Anonymous:"], found["Rss:"]

def read_all(student):
    return student, sum(float(each.view(torch.uint8).max()) for each in student.parameters())

def as_it_was(folder):
    tensors = load_file(folder / "model.safetensors")
    student = load_student(folder, stored_config(folder))
    for parameter in student.parameters():
        parameter.data = torch.empty(parameter.shape)
    student.load_state_dict(tensors)
    return student, tensors

folder = Path(sys.argv[1])
before, _ = memory()
kept = WAY
own, resident = memory()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(f"{own - before:8.2f} {resident:8.2f} {peak:8.2f}")
"""


def write_sparse(folder: Path, text: dict[str, Any]) -> int:
    """A stored student of bfloat16 zeros whose file takes no blocks; how many numbers it has."""
    import torch

    from threedrs_components.students.folder import CONFIG_FILE, WEIGHTS_FILE
    from threedrs_components.students.llava_video import LlavaVideoConfig
    from threedrs_components.students.siglip_qwen2 import IMAGE_ID, VISUAL_ID, lmms_lab_config
    from threedrs_components.testing.synthetic import random_student

    tokenizer = random_student().tokenizer
    config = LlavaVideoConfig(size="7b", checkpoint="-")
    model_config = lmms_lab_config(text, (VISUAL_ID, IMAGE_ID))
    architecture = config.architecture()
    with torch.device("meta"):
        student = architecture(config, architecture.model_class(model_config), tokenizer)
    header: dict[str, Any] = {}
    place = 0
    for name, value in student.state_dict().items():
        size = value.numel() * 2
        header[name] = {
            "dtype": "BF16",
            "shape": list(value.shape),
            "data_offsets": [place, place + size],
        }
        place += size
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with (folder / WEIGHTS_FILE).open("wb") as file:
        file.write(struct.pack("<Q", len(encoded)) + encoded)
        file.truncate(8 + len(encoded) + place)
    settings = config.model_copy(update={"checkpoint": None}).model_dump(mode="json")
    content = {"kind": config.kind, "student": settings, "model": model_config.to_dict()}
    (folder / CONFIG_FILE).write_text(json.dumps(content, default=str))
    tokenizer.save(folder)
    return place // 2


def measured(folder: Path, way: str) -> str:
    """What a process of its own says."""
    program = PROGRAM.replace("WAY", WAYS[way])
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.rstrip() if done.returncode == 0 else f"  ended with {done.returncode}"


def main() -> None:
    """Print a table for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=("middle", "7b"), default="middle")
    chosen = parser.parse_args()
    sizes = {"middle": (MIDDLE, list(WAYS))}
    if chosen.size == "7b":
        # The others would need the memory that they are measured to need: 32 and 48 GB.
        sizes["7b"] = (FULL, list(WAYS)[:1])
    for name, (text, ways) in sizes.items():
        with tempfile.TemporaryDirectory() as place:
            numbers = write_sparse(Path(place), text)
            gib = 2 * numbers / 2**30
            print(f"{name}: {numbers / 1e9:.2f} G parameters, {gib:.2f} GiB in bfloat16")
            print(f"  {'GiB':32}  own mem  resident   peak")
            for way in ways:
                print(f"  {way:32} {measured(Path(place), way)}", flush=True)
            print(f"  by arithmetic, as it was: {3 * gib:.1f} GiB above the imports")


if __name__ == "__main__":
    main()
