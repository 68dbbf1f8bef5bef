"""Every kind of teacher that the registry lists takes the same exam, newcomers too."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import Tensor

from threedrs_components.teachers.colours import ColourTeacher, RGBConfig
from threedrs_components.teachers.registry import TEACHERS, AnyTeacher, teacher_config
from threedrs_components.teachers.settings import TeacherSettings
from threedrs_components.testing import teacher_contract
from threedrs_components.testing.teacher_checkpoints import (
    TINY_KINDS,
    tiny_scene,
    tiny_teacher,
    write_tiny_checkpoint,
)
from threedrs_platform.config import REPORTED
from threedrs_platform.config.kinds import kinds_of

torch.set_num_threads(1)

HEAVY = ("torch", "transformers", "scipy", "safetensors")
REGISTRY = "threedrs_components.teachers.registry"
every_kind = pytest.mark.parametrize("kind", TEACHERS)


@cache
def heavy_imports() -> dict[str, list[str]]:
    """What each kind's module brings, each imported before the next in one fresh process."""
    modules = list(dict.fromkeys(TEACHERS.module(kind) for kind in TEACHERS))
    code = (
        "import importlib, sys\n"
        f"for module in {modules}:\n"
        "    before = set(sys.modules)\n"
        "    importlib.import_module(module)\n"
        f"    print(module, *sorted((set(sys.modules) - before) & set({HEAVY})))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {line.split()[0]: line.split()[1:] for line in done.stdout.splitlines()}


@every_kind
def test_a_configuration_is_read_without_what_computes(kind: str) -> None:
    found = heavy_imports()[TEACHERS.module(kind)]
    assert not found, f"{TEACHERS.module(kind)} brings {', '.join(found)}: import them in `build`"


def test_no_two_teachers_have_one_name() -> None:
    names = Counter(kind for config in get_args(AnyTeacher) for kind in kinds_of(config))
    assert {kind: number for kind, number in names.items() if number > 1} == {}
    assert set(names) == set(TEACHERS)


@every_kind
def test_facts_are_told(kind: str) -> None:
    teacher_contract.check_facts(TEACHERS[kind])


@every_kind
def test_a_kind_leads_to_no_other(kind: str) -> None:
    others = {TEACHERS.module(other) for other in TEACHERS} - {TEACHERS.module(kind)}
    teacher_contract.check_walls(TEACHERS[kind], {*others, REGISTRY})


@every_kind
def test_what_is_only_reported_is_in_no_identity(kind: str, tmp_path: Path) -> None:
    config = tiny_teacher(kind, tmp_path)
    assert "sees" in config.canonical()
    assert not {"sees", "checkpoint"} & config.identity().keys()


@every_kind
def test_features_are_what_training_reads(kind: str, tmp_path: Path) -> None:
    teacher_contract.check_features(tiny_teacher(kind, tmp_path), tiny_scene())


@pytest.mark.parametrize("kind", ["vggt", "da3", "dinov2", "dinov2_reg", "mae", "siglip2"])
def test_headers_tell_how_fine_the_features_are(kind: str, tmp_path: Path) -> None:
    config = tiny_teacher(kind, tmp_path, framing="squash")
    assert config.own_grid() == config.build().grid


@every_kind
def test_features_go_to_files_and_come_back(kind: str, tmp_path: Path) -> None:
    config = tiny_teacher(kind, tmp_path / "weights")
    teacher_contract.check_stored(config, tiny_scene(), tmp_path / "out")


def test_a_newcomer_with_weights_is_told_what_to_add(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match="a tiny checkpoint of it to WRITERS in threedrs"):
        write_tiny_checkpoint("newcomer", tmp_path)


class Forgetful(TeacherSettings):
    """Says neither its name nor where its weights are."""

    sees: Annotated[Literal["2d"], REPORTED] = "2d"


class Weightless(Forgetful):
    kind: Literal["weightless"] = "weightless"


class Silent(TeacherSettings):
    weights: ClassVar[None] = None
    kind: Literal["silent"] = "silent"


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (Forgetful, "Forgetful: give it its name"),
        (Weightless, "Weightless: say in `weights`"),
        (Silent, "Silent: say what it learned from"),
    ],
)
def test_missing_facts_are_named(config: type[TeacherSettings], complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        teacher_contract.check_facts(config)


def test_a_way_to_another_kind_is_named() -> None:
    with pytest.raises(AssertionError, match=r"vggt\.config imports threedrs_.*vggt\.layers"):
        module = "threedrs_components.teachers.vggt.layers"
        teacher_contract.check_walls(TEACHERS["vggt"], {module})


def broken(change: Callable[[Tensor], Tensor]) -> type[ColourTeacher]:
    class Broken(ColourTeacher):
        """Colours with one thing wrong."""

        def features(self, images: Tensor) -> Tensor:
            return change(super().features(images))

    return Broken


class Unlicensed(ColourTeacher):
    def __init__(self, config: RGBConfig) -> None:
        super().__init__(config.model_copy(update={"licence": ""}))


@pytest.mark.parametrize(
    ("teacher", "complaint"),
    [
        (
            broken(lambda x: x.flatten(1, 2)),
            r"rgb: features of shape \[3, 196, 3\]; give",
        ),
        (broken(Tensor.half), "float16, not float32"),
        (broken(lambda x: x * torch.ones(3, requires_grad=True)), "carry a gradient"),
        (broken(lambda x: x / 0), "not finite"),
        (broken(lambda x: x + torch.rand(())), "differ from call to call"),
        (Unlicensed, "must carry the configured licence"),
    ],
)
def test_features_that_break_the_contract_are_refused(
    teacher: type[ColourTeacher], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(RGBConfig, "build", lambda self, device="cpu": teacher(self))
    with pytest.raises(AssertionError, match=complaint):
        teacher_contract.check_features(RGBConfig(), tiny_scene())


@pytest.mark.parametrize("framing", ["aspect", "squash", "crop"])
@pytest.mark.parametrize("kind", [kind for kind in TINY_KINDS if kind != "flare"])
def test_the_grid_of_frames_of_any_shape_is_told_by_headers(
    kind: str, framing: str, tmp_path: Path
) -> None:
    small = {"pixels": 20_000} if kind == "pi3" else {"image_size": 56} if kind == "da3" else {}
    config = tiny_teacher(kind, tmp_path, framing=framing, **small)
    teacher = config.build()
    for height, width in ((48, 64), (36, 64), (64, 64), (64, 48)):
        features = teacher.features(torch.rand(1, 3, height, width))  # type: ignore[attr-defined]
        assert config.own_grid((height, width)) == min(features.shape[1:3])


def test_the_rows_of_flare_follow_the_shape_of_frames() -> None:
    config = teacher_config("flare", "nowhere")
    shapes = ((3, 4), (9, 16), (1, 1), (4, 3))
    assert [config.own_grid(shape) for shape in shapes] == [24, 18, 24, 24]


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize(
    ("shape", "rows", "grid"),
    [((3, 4, 8), None, 2), ((1, 3, 2, 5, 8), None, 2), ((3, 11, 8), 2, 2), ((3, 15, 8), 3, 3)],
)
def test_headers_tell_how_fine_stored_features_are(
    suffix: str, shape: tuple[int, ...], rows: int | None, grid: int, tmp_path: Path
) -> None:
    arrays = {"feature": np.zeros(shape, np.float32)}
    if shape[1] == 11:
        arrays["ps_idx"] = np.array(5)
    path = tmp_path / f"scene{suffix}"
    np.savez(path, **arrays) if suffix == ".npz" else save_file(arrays, path)  # type: ignore[arg-type]
    config = teacher_config("precomputed", str(tmp_path), rows=rows)
    assert config.own_grid() == grid == config.build().grid
