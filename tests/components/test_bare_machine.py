"""Extraction, a training step and the probe where there is no Ray, no MLflow and no SQLAlchemy."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

pytestmark = pytest.mark.whole

REPOSITORY = Path(__file__).resolve().parents[2]
ABSENT = ("ray", "mlflow", "sqlalchemy", "alembic", "optuna", "boto3", "botocore", "starlette")
SCRIPT = """
import importlib.util, sys
from pathlib import Path

import pytest

present = [name for name in sys.argv[2].split() if importlib.util.find_spec(name)]
assert not present, f"not a bare machine: {present}"

from threedrs_components.objectives.alignment.config import AlignmentConfig
from threedrs_components.probing.scene_probe import probe_scene
from threedrs_components.scenes.micro.config import MicroWorldConfig
from threedrs_components.scenes.micro.write import write_world
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.scenes.prepared import prepare_scene, write_prepared
from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_components.students.checkpoints import save_student
from threedrs_components.students.llava_video import LlavaVideoConfig
from threedrs_components.teachers.colours import RGBConfig
from threedrs_components.teachers.extraction import extract_scenes
from threedrs_components.testing.synthetic import TASKS, random_samples, random_student
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.loop import TrainingInputs, train

out = Path(sys.argv[1])
write_world(MicroWorldConfig(train=1, text=1, val=1, num_frames=2), out / "world")
source = RGBDFolder(out / "world/scenes")
scene_id = source.scenes()[0]
teacher = RGBConfig().at_grid(4).build()
extract_scenes(teacher, source, [scene_id], out / "features", grid=4)
settings = PrepareConfig(num_frames=2)
prepared = prepare_scene(source.load(scene_id), None, settings)
write_prepared(prepared, out / "prepared")
save_student(random_student(), out / "start")
summary = train(
    TrainingInputs(
        student=LlavaVideoConfig(checkpoint=str(out / "start")),
        prepared=out / "prepared",
        samples={scene_id: random_samples(prepared, 6, 0)},
        training=TrainingConfig(steps=1, scenes_per_step=1, questions_per_scene=6),
        objectives=(*TASKS, AlignmentConfig(layers=(-1,))),
        features=out / "features",
    ),
    report=lambda step, values: None,
    checkpoint_dir=out / "checkpoints",
    out=out / "student",
)
found = probe_scene(source.load(scene_id), teacher.scene_features, grid=4)
print("steps", summary.steps, "pairs", found.score.pairs > 0)
"""


def bare_packages(folder: Path) -> Path:
    """The installed packages but for those that only the platform and the dashboards need."""
    folder.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if path.name not in ABSENT and path.suffix != ".pth":
            (folder / path.name).symlink_to(path)
    return folder


def test_the_science_runs_from_the_components_alone(tmp_path: Path) -> None:
    packages = bare_packages(tmp_path / "packages")
    roots = [packages, REPOSITORY / "platform", REPOSITORY / "components"]
    command = [sys.executable, "-S", "-c", SCRIPT, str(tmp_path), " ".join(ABSENT)]
    environment = {"PYTHONPATH": ":".join(map(str, roots)), "OMP_NUM_THREADS": "1", "PATH": ""}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("steps 1 pairs True")
