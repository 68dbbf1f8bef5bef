"""Scenes and weights that stay where they are: other content must be other work downstream."""

from pathlib import Path
from typing import Any

import pytest

from threedrs_components.scenes.rgbd_folder import RGBDFolderConfig
from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.testing.student_checkpoints import publish
from threedrs_platform.compute.recorder import Recorder
from threedrs_platform.config.kinds import choose
from threedrs_platform.steps import StepTask
from threedrs_platform.store.manifest import make_manifest
from threedrs_workflows.steps import pretrain, scenes
from threedrs_workflows.steps.params import StepParams
from threedrs_workflows.steps.params.pretrain import PretrainParams
from threedrs_workflows.steps.params.scenes import ScenesParams


def artifact(run: Any, root: Path, params: StepParams) -> str:
    """Digest of what a step without inputs writes."""
    root.mkdir()
    run(StepTask(params.identity(), {}, root, root, Recorder(), params.remainder()))
    return make_manifest(root).digest()


def scenes_params(folder: Path, content: str) -> StepParams:
    scenes = choose(RGBDFolderConfig(root=str(folder)))
    return ScenesParams(scenes=scenes, role="student", content={"scenes.root": content})


def weights_params(folder: Path, content: str) -> StepParams:
    student = choose(LlavaVideoConfig(checkpoint=str(folder)))
    return PretrainParams(student=student, weights=content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Both a scene and a checkpoint."""
    folder = tmp_path / "one"
    publish("llava_video/lmms-lab", folder)
    (folder / "frame-000000.color.png").write_bytes(b"")
    return folder


@pytest.mark.parametrize(
    ("run", "params_of"), [(scenes.run, scenes_params), (pretrain.run, weights_params)]
)
def test_what_lies_elsewhere_is_told_by_its_digest(
    tmp_path: Path, folder: Path, run: Any, params_of: Any
) -> None:
    one, two, one_again = (
        artifact(run, tmp_path / name, params_of(folder, content))
        for name, content in (("first", "1"), ("second", "2"), ("third", "1"))
    )
    assert one == one_again != two


def test_weights_in_a_renamed_folder_are_the_same_weights(tmp_path: Path, folder: Path) -> None:
    before = artifact(pretrain.run, tmp_path / "before", weights_params(folder, "1"))
    renamed = folder.rename(tmp_path / "other")
    assert artifact(pretrain.run, tmp_path / "after", weights_params(renamed, "1")) == before


def test_a_place_is_in_no_parameter(folder: Path) -> None:
    for params_of in (scenes_params, weights_params):
        assert str(folder) not in str(params_of(folder, "1").identity())
