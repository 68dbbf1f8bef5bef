"""Scenes and weights that stay where they are: other content must be other work downstream."""

from pathlib import Path
from typing import Any

import pytest

from threedrs_components.scenes.registry import RGBDFolderConfig
from threedrs_components.students.registry import LlavaVideoConfig
from threedrs_platform.compute.recorder import Recorder
from threedrs_platform.steps import StepTask
from threedrs_platform.store.manifest import make_manifest
from threedrs_workflows.steps import pretrain, scenes


def artifact(run: Any, root: Path, params: dict[str, Any]) -> str:
    """Digest of what a step without inputs writes."""
    root.mkdir()
    run(StepTask(params, {}, root, root, Recorder()))
    return make_manifest(root).digest()


def scenes_params(folder: Path) -> dict[str, Any]:
    return {"scenes": RGBDFolderConfig(root=str(folder)).canonical(), "role": "student"}


def weights_params(folder: Path) -> dict[str, Any]:
    (folder / "config.json").write_text("{}")
    return {"student": LlavaVideoConfig(checkpoint=str(folder)).canonical()}


@pytest.mark.parametrize(
    ("run", "params_of", "digest"),
    [(scenes.run, scenes_params, "content"), (pretrain.run, weights_params, "weights")],
)
def test_a_pointer_holds_the_digest_of_what_it_points_at(
    tmp_path: Path, run: Any, params_of: Any, digest: str
) -> None:
    params = params_of(tmp_path)
    one, two, one_again = (
        artifact(run, tmp_path / name, {**params, digest: content})
        for name, content in (("first", "1"), ("second", "2"), ("third", "1"))
    )
    assert one == one_again != two
