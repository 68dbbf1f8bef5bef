"""Encoders of transformers as teachers: the right tokens of the right model, or a refusal."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from threedrs_components.teachers.costs import TEACHERS
from threedrs_components.teachers.dinov3 import DINOv3Config
from threedrs_components.teachers.image_encoder import ImageEncoderTeacher
from threedrs_components.teachers.pixels import normalised
from threedrs_components.teachers.registry import load_teacher
from threedrs_components.testing.teacher_checkpoints import write_tiny_checkpoint
from threedrs_platform.errors import CheckpointError, ConfigError

ENCODERS = ("dinov2", "dinov2_reg", "dinov3", "siglip2", "mae")


def frames(number: int = 3, height: int = 32, width: int = 32) -> Tensor:
    return torch.rand(number, 3, height, width, generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("encoders")
    return {kind: write_tiny_checkpoint(kind, root / kind) for kind in ENCODERS}


def teacher_of(kind: str, checkpoint: Path, **fields: Any) -> ImageEncoderTeacher:
    teacher = load_teacher(kind, str(checkpoint), **fields)
    assert isinstance(teacher, ImageEncoderTeacher)
    return teacher


def copied(checkpoint: Path, folder: Path) -> Path:
    for source in checkpoint.iterdir():
        (folder / source.name).write_bytes(source.read_bytes())
    return folder


def loaded(kind: str, folder: Path) -> Any:
    """The checkpoint through transformers itself."""
    import transformers

    name, options = {
        "dinov2": ("Dinov2Model", {}),
        "dinov2_reg": ("Dinov2WithRegistersModel", {}),
        "dinov3": ("DINOv3ViTModel", {}),
        "siglip2": ("SiglipModel", {}),
        "mae": ("ViTModel", {"add_pooling_layer": False}),
    }[kind]
    model = getattr(transformers, name).from_pretrained(folder, **options).eval()
    return model.vision_model if kind == "siglip2" else model


@pytest.mark.parametrize(
    ("kind", "specials"),
    [("dinov2", 1), ("dinov2_reg", 5), ("dinov3", 5), ("siglip2", 0), ("mae", 1)],
)
@torch.inference_mode()
def test_features_are_the_patch_tokens_of_the_whole_model(
    kind: str, specials: int, checkpoints: dict[str, Path]
) -> None:
    half = (0.5, 0.5, 0.5)
    pixels = normalised(frames(), half, half) if kind == "siglip2" else normalised(frames())
    expected = loaded(kind, checkpoints[kind])(pixels).last_hidden_state[:, specials:]
    features = teacher_of(kind, checkpoints[kind], image_size=32).features(frames())
    assert features.shape == (3, 4, 4, 16)
    torch.testing.assert_close(features.flatten(1, 2), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("kind", ENCODERS)
@torch.inference_mode()
def test_the_last_block_normalised_is_the_default_layer(
    kind: str, checkpoints: dict[str, Path]
) -> None:
    last = teacher_of(kind, checkpoints[kind], image_size=32, layer=1)
    default = teacher_of(kind, checkpoints[kind], image_size=32)
    norms = [
        module
        for name, module in default.model.named_modules()
        if name in ("layernorm", "post_layernorm", "norm")
    ]
    torch.testing.assert_close(
        norms[0](last.features(frames())), default.features(frames()), atol=1e-5, rtol=1e-5
    )


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize(
    ("framing", "grid"), [("aspect", (4, 6)), ("squash", (6, 6)), ("crop", (6, 6))]
)
def test_every_framing_gives_its_grid(
    kind: str, framing: str, grid: tuple[int, int], checkpoints: dict[str, Path]
) -> None:
    teacher = teacher_of(kind, checkpoints[kind], image_size=48, framing=framing)
    assert teacher.features(frames(2, 30, 45)).shape == (2, *grid, 16)


def test_dinov2_sees_224_pixels_as_the_paper_does(checkpoints: dict[str, Path]) -> None:
    teacher = load_teacher("dinov2", str(checkpoints["dinov2"]))
    assert teacher.grid == 224 // 8
    assert "squashed to 224x224" in teacher.card.preprocessing


def test_siglip2_sees_what_it_was_trained_at(checkpoints: dict[str, Path]) -> None:
    assert load_teacher("siglip2", str(checkpoints["siglip2"])).grid == 4


def test_an_image_size_between_patches_is_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="30 is no multiple of the model's patch size 8"):
        load_teacher("dinov2", str(checkpoints["dinov2"]), image_size=30)


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("dinov2", "dinov2_reg"),
        ("dinov2_reg", "dinov3"),
        ("dinov3", "siglip2"),
        ("siglip2", "mae"),
        ("mae", "dinov2"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(
    kind: str, other: str, checkpoints: dict[str, Path]
) -> None:
    with pytest.raises(CheckpointError, match=rf"config\.json: .*teacher {kind} reads"):
        load_teacher(kind, str(checkpoints[other]))


def tensor_of(kind: str) -> str:
    """A tensor's name as the released checkpoints spell it."""
    return {
        "dinov2": "embeddings.cls_token",
        "dinov2_reg": "embeddings.register_tokens",
        "dinov3": "layer.1.layer_scale2.lambda1",
        "siglip2": "vision_model.post_layernorm.weight",
        "mae": "vit.embeddings.cls_token",
    }[kind]


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize(
    ("change", "complaint"),
    [("missing", "1 missing"), ("shape", "1 of another shape"), ("extra", "1 unknown: stray")],
)
def test_tensors_that_do_not_fit_are_named(
    kind: str, change: str, complaint: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    weights = copied(checkpoints[kind], tmp_path) / "model.safetensors"
    tensors, name = load_file(weights), tensor_of(kind)
    if change == "missing":
        tensors.pop(name)
    elif change == "shape":
        tensors[name] = torch.zeros(3, 5)
    else:
        tensors["stray.weight"] = torch.zeros(2)
    save_file(tensors, weights, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=rf"model\.safetensors: .*{complaint}"):
        load_teacher(kind, str(tmp_path))


class Code:
    """Pickles as a call of `os.system`."""

    def __reduce__(self) -> Any:
        import os

        return os.system, ("exit 3",)


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_pickle_that_wants_code_is_refused(
    kind: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    copied(checkpoints[kind], tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save({tensor_of(kind): Code()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: not a readable"):
        load_teacher(kind, str(tmp_path))


def test_a_plain_pickle_is_refused_too(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    copied(checkpoints["dinov2"], tmp_path)
    (tmp_path / "model.safetensors").unlink()
    (tmp_path / "pytorch_model.bin").write_bytes(pickle.dumps(Code(), protocol=2))
    with pytest.raises(CheckpointError, match=r"pytorch_model\.bin: not a readable"):
        load_teacher("dinov2", str(tmp_path))


def test_weights_kept_in_half_precision_are_computed_in_full(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = copied(checkpoints["dinov2"], tmp_path)
    tensors = load_file(folder / "model.safetensors")
    halved = {name: value.bfloat16() for name, value in tensors.items()}
    save_file(halved, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    features = load_teacher("dinov2", str(folder), image_size=32).features(frames())
    assert features.dtype == torch.float32
    exact = load_teacher("dinov2", str(checkpoints["dinov2"]), image_size=32).features(frames())
    torch.testing.assert_close(features, exact, atol=0.2, rtol=0.1)


WEB = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SATELLITE = ((0.430, 0.411, 0.296), (0.213, 0.156, 0.143))


def rewritten(folder: Path, name: str, **changes: Any) -> None:
    """Change fields of a JSON file."""
    found = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**found, **changes}))


@pytest.mark.parametrize(
    ("of_file", "statistics", "colours"),
    [
        (SATELLITE, "checkpoint", SATELLITE),
        (WEB, "checkpoint", WEB),
        (None, "checkpoint", WEB),
        (WEB, "sat493m", SATELLITE),
        (SATELLITE, "lvd1689m", WEB),
    ],
)
@torch.inference_mode()
def test_dinov3_normalises_by_the_colours_that_it_learned_from(
    of_file: Any, statistics: str, colours: Any, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = copied(checkpoints["dinov3"], tmp_path)
    if of_file is None:
        (folder / "preprocessor_config.json").unlink()
    else:
        mean, deviation = of_file
        rewritten(folder, "preprocessor_config.json", image_mean=mean, image_std=deviation)
    teacher = teacher_of("dinov3", folder, image_size=32, statistics=statistics)
    expected = loaded("dinov3", folder)(normalised(frames(), *colours)).last_hidden_state[:, 5:]
    found = teacher.features(frames())
    torch.testing.assert_close(found.flatten(1, 2), expected, atol=1e-6, rtol=1e-5)
    assert f"colours by mean {colours[0]}, deviation {colours[1]}" in teacher.card.preprocessing
    assert teacher.card.licence == "DINOv3 License"


def test_dinov3_reads_the_names_of_the_released_files_and_of_the_class(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    released = load_file(checkpoints["dinov3"] / "model.safetensors")
    assert "layer.0.norm1.weight" in released
    folder = copied(checkpoints["dinov3"], tmp_path)
    named = {
        f"model.{name}" if name.startswith("layer.") else name: value
        for name, value in released.items()
    }
    save_file(named, folder / "model.safetensors", metadata={"format": "pt"})
    found = load_teacher("dinov3", str(folder), image_size=32).features(frames())
    expected = load_teacher("dinov3", str(checkpoints["dinov3"]), image_size=32).features(frames())
    assert torch.equal(found, expected)


def test_dinov3_without_registers_is_refused_with_the_cure(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = copied(checkpoints["dinov3"], tmp_path)
    cure = r"every released file has 4, so take facebook/dinov3-vitl16-pretrain-lvd1689m"
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("embeddings.register_tokens")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(
        CheckpointError, match=rf"no tensor 'embeddings\.register_tokens': .*{cure}"
    ):
        load_teacher("dinov3", str(folder))
    rewritten(folder, "config.json", num_register_tokens=0)
    with pytest.raises(CheckpointError, match=rf"config\.json: num_register_tokens is 0 .*{cure}"):
        load_teacher("dinov3", str(folder))


def test_a_dinov3_that_was_cut_short_is_refused(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    weights = copied(checkpoints["dinov3"], tmp_path) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: .*read"):
        load_teacher("dinov3", str(tmp_path))


def test_the_convolutional_dinov3_is_refused(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    folder = copied(checkpoints["dinov3"], tmp_path)
    rewritten(folder, "config.json", model_type="dinov3_convnext")
    with pytest.raises(CheckpointError, match="type 'dinov3_convnext'; teacher dinov3 reads 'dino"):
        load_teacher("dinov3", str(folder))


@pytest.mark.parametrize("content", ["{", "[]", '{"image_mean": [0.5, 0.5, 0.5]}'])
def test_a_preprocessor_without_colours_is_refused(
    content: str, checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    folder = copied(checkpoints["dinov3"], tmp_path)
    (folder / "preprocessor_config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"say which they are \(statistics: lvd1689m or sat"):
        load_teacher("dinov3", str(folder))


def test_dinov3_of_released_widths_has_the_released_number_of_values() -> None:
    """ViT-L/16, patches of 16: 518 pixels are refused, 224 give 14 x 14 tokens."""
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    config = DINOv3ViTConfig(
        hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096,
        num_register_tokens=4,
    )  # fmt: skip
    with torch.device("meta"):
        model = DINOv3ViTModel(config)
    cost = TEACHERS["dinov3"]
    assert sum(tensor.numel() for tensor in model.state_dict().values()) == cost.parameters
    settings = DINOv3Config(checkpoint="nowhere")
    assert ImageEncoderTeacher(model, settings, "", None).grid == 14
    with pytest.raises(ConfigError, match="518 is no multiple of the model's patch size 16"):
        ImageEncoderTeacher(model, settings.model_copy(update={"image_size": 518}), "", None)


@pytest.mark.parametrize("kind", ENCODERS)
def test_bfloat16_on_a_cpu_is_refused(kind: str, checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="on a CPU use float32"):
        load_teacher(kind, str(checkpoints[kind]), precision="bfloat16")
