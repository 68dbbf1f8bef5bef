"""A student is stored, read, evaluated and exported in one number format; tied tables once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from threedrs_components.students.build import build_student
from threedrs_components.students.checkpoints import load_student, save_student, student_features
from threedrs_components.students.dtypes import exact_buffers
from threedrs_components.students.export import write_pretrained
from threedrs_components.students.registry import STUDENTS, open_student, stored_config
from threedrs_components.students.student import Student
from threedrs_components.testing.student_checkpoints import LAYOUTS, publish
from threedrs_components.testing.synthetic import random_samples, random_scene, random_student
from threedrs_components.training.prediction import predict_scene
from threedrs_platform.errors import CheckpointError, ConfigError
from threedrs_platform.records import Prediction

pytestmark = pytest.mark.whole

HALVES = ("bfloat16", "float16")
CHOICES: dict[str, Any] = {"position_encoding": True, "object_features": "both"}
TOLERANCE = {"bfloat16": 0.03, "float16": 0.005}
"""Largest difference of a cosine from the one in float32."""


def formats(student: Student) -> set[torch.dtype]:
    return {parameter.dtype for parameter in student.parameters()}


def answers(student: Student) -> tuple[list[Prediction], Tensor]:
    scene = random_scene("scene", 0, grid=student.grid, image_size=student.image_size)
    states = student_features(student, scene.frame_batch(), scene.coordinates)
    return predict_scene(student.eval(), scene, random_samples(scene, 6, 0)), states


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_student_trained_in_half_precision_is_evaluated_in_it(
    layout: str, dtype: str, tmp_path: Path
) -> None:
    config, _ = publish(layout, tmp_path / "published")
    config = config.model_copy(update=CHOICES)
    torch.manual_seed(0)
    student = build_student(config, dtype)
    assert formats(student) == {getattr(torch, dtype)}
    save_student(student, tmp_path / "saved")
    stored = {value.dtype for value in load_file(tmp_path / "saved/model.safetensors").values()}
    assert stored == {getattr(torch, dtype)}
    loaded = open_student(tmp_path / "saved")
    assert formats(loaded) == {getattr(torch, dtype)}
    assert answers(loaded)[0] == answers(student)[0]
    # The same numbers, computed with in float32.
    exact = load_student(tmp_path / "saved", stored_config(tmp_path / "saved"), "float32")
    assert formats(exact) == {torch.float32}
    for name, buffer in exact_buffers(build_student(config)).items():
        assert torch.equal(loaded.get_buffer(name), buffer), name
    compare(answers(loaded), answers(exact), dtype)


def compare(
    found: tuple[list[Prediction], Tensor], exact: tuple[list[Prediction], Tensor], dtype: str
) -> None:
    for one, other in zip(found[0], exact[0], strict=True):
        assert one.scores == pytest.approx(other.scores, abs=TOLERANCE[dtype])
    scale = exact[1].abs().max()
    assert (found[1] - exact[1]).abs().max() < 4 * TOLERANCE[dtype] * scale


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("kind", STUDENTS)
def test_a_micro_student_chooses_the_same_in_half_precision(
    kind: str, dtype: str, tmp_path: Path
) -> None:
    save_student(random_student(kind=kind, **CHOICES), tmp_path)
    config = stored_config(tmp_path)
    found, exact = (answers(load_student(tmp_path, config, name)) for name in (dtype, "float32"))
    compare(found, exact, dtype)
    choices = [
        [max(range(len(each.scores)), key=each.scores.__getitem__) for each in group if each.scores]
        for group in (found[0], exact[0])
    ]
    assert choices[0] == choices[1]


def test_stored_is_what_was_saved_and_changes_no_bit(tmp_path: Path) -> None:
    student = random_student().eval()
    save_student(student, tmp_path)
    assert answers(open_student(tmp_path))[0] == answers(student)[0]
    # Over the file that its own weights may be mapped from.
    save_student(open_student(tmp_path), tmp_path)
    assert answers(open_student(tmp_path))[0] == answers(student)[0]


@pytest.mark.parametrize("dtype", ["float32", *HALVES])
def test_a_blind_student_has_no_object_features_in_any_format(dtype: str, tmp_path: Path) -> None:
    save_student(random_student(blind=True), tmp_path)
    student = load_student(tmp_path, stored_config(tmp_path), dtype)
    scene = random_scene("scene", 0, grid=student.grid, image_size=student.image_size)
    assert len(predict_scene(student, scene, random_samples(scene, 1, 0))[0].scores) == 5


def test_a_weight_beyond_float16_is_refused_by_name(tmp_path: Path) -> None:
    student = random_student()
    student.grounding.no_object.data[0] = 1e5
    save_student(student, tmp_path)
    with pytest.raises(CheckpointError, match=r"grounding\.no_object: .* set evaluation\.dtype"):
        load_student(tmp_path, stored_config(tmp_path), "float16")


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_transformers_reads_an_exported_student_and_computes_its_logits(
    layout: str, tied: bool, tmp_path: Path
) -> None:
    config, _ = publish(layout, tmp_path / "published", tied=tied)
    student = build_student(config).eval()
    save_student(student, tmp_path / "saved")
    names = load_file(tmp_path / "saved/model.safetensors").keys()
    assert ("model.lm_head.weight" in names) == (not tied)
    loaded = open_student(tmp_path / "saved")
    write_pretrained(tmp_path / "saved", tmp_path / "exported")
    model, info = type(student.model).from_pretrained(
        tmp_path / "exported", output_loading_info=True
    )
    assert not (info["missing_keys"] or info["unexpected_keys"] or info["mismatched_keys"])
    ids = torch.tensor([[5, 6, 7, 8, 9]])
    with torch.no_grad():
        theirs = model.eval()(input_ids=ids).logits[0]
        states = loaded.model.model.language_model(input_ids=ids).last_hidden_state[0]
        torch.testing.assert_close(loaded.logits(states), theirs, rtol=1e-4, atol=1e-5)
    for each in (student, loaded):
        assert_tied(each, tied)


def assert_tied(student: Student, tied: bool) -> None:
    """Learning one table is learning the other, or is not."""
    words, out = student.model.get_input_embeddings(), student.model.get_output_embeddings()
    assert (words.weight is out.weight) == tied
    before = out.weight.detach().clone()
    student.embed(torch.tensor([3])).sum().backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD([words.weight], lr=1.0).step()
    assert torch.equal(out.weight, before) == (not tied)


@pytest.mark.parametrize("layout", ["llava_onevision/lmms-lab", "qwen2_vl/Qwen"])
def test_tied_weights_in_several_files_are_read(layout: str, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    config, published = publish(layout, folder, tied=True)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {name: f"part-{number % 2}.safetensors" for number, name in enumerate(tensors)}
    for file in set(places.values()):
        part = {name: value for name, value in tensors.items() if places[name] == file}
        save_file(part, folder / file, {"format": "pt"})
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    student = build_student(config, "bfloat16")
    name = "model.language_model.layers.1.mlp.up_proj.weight"
    assert torch.equal(student.model.get_parameter(name), published[name].bfloat16())
    assert student.model.get_output_embeddings().weight is (
        student.model.get_input_embeddings().weight
    )


def test_a_size_that_a_kind_is_not_published_in_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"qwen2_vl comes in sizes micro, 2b, 7b"):
        STUDENTS.read({"kind": "qwen2_vl", "size": "0.5b", "checkpoint": "weights"})
    assert (
        STUDENTS.read({"kind": "llava_onevision", "size": "0.5b", "checkpoint": "w"}).layers == 24
    )


TRAINS = """
import sys
from pathlib import Path
from threedrs_components.scenes.prepared import write_prepared
from threedrs_components.testing.student_checkpoints import publish
from threedrs_components.testing.synthetic import TASKS, random_samples, random_scene
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.launch import train_here
from threedrs_components.training.loop import TrainingInputs

folder = Path(sys.argv[1])
config, _ = publish("qwen2_vl/Qwen", folder / "published", tied=True)
config = config.model_copy(update={"frozen": (), "position_encoding": True})
scene = random_scene("a", 0, grid=14, image_size=112)
write_prepared(scene, folder / "prepared")
training = TrainingConfig(
    steps=1, scenes_per_step=1, questions_per_scene=3, dtype="bfloat16", strategy="deepspeed_zero3"
)
inputs = TrainingInputs(
    student=config, prepared=folder / "prepared", samples={"a": random_samples(scene, 3, 0)},
    training=training, objectives=TASKS,
)
train_here(inputs, report=print, checkpoint_dir=folder / "checkpoints", out=folder / "out")
"""


@pytest.mark.ranks
def test_a_tied_student_trained_by_zero_3_in_bfloat16_can_be_asked_and_exported(
    tmp_path: Path,
) -> None:
    command = [sys.executable, "-c", TRAINS, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    student = open_student(tmp_path / "out")
    assert formats(student) == {torch.bfloat16}
    assert student.model.get_output_embeddings().weight is (
        student.model.get_input_embeddings().weight
    )
    assert answers(student)[1].isfinite().all()
    write_pretrained(tmp_path / "out", tmp_path / "exported")
    model = type(student.model).from_pretrained(tmp_path / "exported")
    assert model.dtype == torch.bfloat16
