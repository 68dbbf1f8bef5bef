"""What every objective must keep to. The registry is asked, so a newcomer is found by itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from threedrs_components.objectives.alignment.config import LOSSES, AlignmentConfig, known_losses
from threedrs_components.objectives.depth import DepthConfig
from threedrs_components.objectives.objective import TeacherFeatures
from threedrs_components.objectives.registry import (
    OBJECTIVES,
    VALIDATION_CURVES,
    ObjectivesConfig,
)
from threedrs_components.objectives.settings import ObjectiveSettings
from threedrs_components.scenes.pairs import token_pair_matrix
from threedrs_components.scenes.prepared import PreparedScene, PreparedScenes, write_prepared
from threedrs_components.testing.synthetic import (
    random_samples,
    random_scene,
    random_student,
    write_random_depth,
    write_random_features,
)
from threedrs_components.training.config import TrainingConfig
from threedrs_components.training.data import MicroBatch, TrainingData
from threedrs_components.training.objective import TOKENS, Totals, TrainingModule
from threedrs_components.training.visits import ScenePlan
from threedrs_platform.config.kinds import choose
from threedrs_platform.identity.source_code import CodeIndex

torch.set_num_threads(1)

SCENES = ("a", "b", "c")
ASKED = 6
"""Questions of each scene: every kind of them."""
WHOLE = Totals(questions=len(SCENES) * ASKED, scenes=len(SCENES))
CODE = CodeIndex()
FOUND = {name: kind(weight=1.0) for name, kind in OBJECTIVES.items()} | {
    f"alignment, {loss}": AlignmentConfig(loss=loss, initialisation="fan_in")
    for loss in (*known_losses(), "+".join(known_losses()))
}
FOUND["depth, teacher"] = DepthConfig(weight=1.0, source="teacher", confidence=True)

every_kind = pytest.mark.parametrize("kind", OBJECTIVES.values(), ids=OBJECTIVES)
every_objective = pytest.mark.parametrize("settings", FOUND.values(), ids=FOUND)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> TeacherFeatures:
    """Scenes with everything that an objective may want of them."""
    root = tmp_path_factory.mktemp("objectives")
    for number, name in enumerate(SCENES):
        scene = random_scene(name, number)
        write_prepared(with_pixel_pairs(scene, number), root / "prepared")
        write_random_features(scene, root / "features", 8, number)
        write_random_depth(scene, root / "depth", number)
    scenes = PreparedScenes(root / "prepared")
    return TeacherFeatures(root / "features", scenes, SCENES, root / "depth")


def with_pixel_pairs(scene: PreparedScene, seed: int) -> PreparedScene:
    """Pixels in so small a room that many share a voxel."""
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(2, 8, 8, 3, generator=generator) * 0.3
    valid = torch.ones(2, 8, 8, dtype=torch.bool)
    return replace(scene, pairs=token_pair_matrix(points, valid, grid=4))


class Bench:
    """One objective alone on a student, over the synthetic scenes."""

    def __init__(self, settings: ObjectiveSettings, teacher: TeacherFeatures) -> None:
        self.settings, self.student = settings, random_student()
        torch.manual_seed(1)
        self.module = TrainingModule(self.student, [settings.build(self.student, teacher)])
        self.data = TrainingData(
            teacher.scenes,
            {name: random_samples(teacher.scenes[name], ASKED, 0) for name in SCENES},
            self.student.tokenizer,
            TrainingConfig(),
            seed=0,
            objectives=self.module.objectives,
        )

    def batch(self, scenes: Sequence[str] = SCENES, asked: int = ASKED) -> MicroBatch:
        rows = tuple(range(asked))
        visits = [ScenePlan(name, rows, name) for name in scenes]
        return self.data.assemble(visits, step=0)

    def loss(self, batch: MicroBatch | None = None, totals: Totals = WHOLE) -> Tensor:
        loss: Tensor = self.module(batch or self.batch(), totals)[0]
        return loss

    def parts(self, batch: MicroBatch | None = None) -> dict[str, float]:
        parts: dict[str, float] = self.module(batch or self.batch(), WHOLE)[1]
        return parts


@pytest.fixture(scope="module", params=list(FOUND.values()), ids=list(FOUND))
def bench(request: pytest.FixtureRequest, teacher: TeacherFeatures) -> Bench:
    return Bench(request.param, teacher)


@every_kind
def test_its_configuration_needs_no_torch(kind: type[ObjectiveSettings]) -> None:
    code = f"import sys, {kind.__module__}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_its_name_is_that_of_its_entry() -> None:
    assert {name: kind.name for name, kind in OBJECTIVES.items()} == {n: n for n in OBJECTIVES}


@every_objective
def test_a_step_opens_what_was_chosen(settings: ObjectiveSettings) -> None:
    chosen = choose(settings, settings.modules())
    assert chosen.open(ObjectiveSettings) == settings


@every_kind
def test_weight_0_is_off(kind: type[ObjectiveSettings]) -> None:
    def active(weight: float) -> list[str]:
        config = ObjectivesConfig.model_validate({kind.name: {"weight": weight}})
        return [each.name for each in config.active(has_teacher=True)]

    assert kind.name in active(0.5) and kind.name not in active(0.0)
    with pytest.raises(ValidationError, match="greater than or equal to 0"):
        kind(weight=-1.0)


@every_kind
def test_where_it_reads_a_teacher_it_is_off_without(kind: type[ObjectiveSettings]) -> None:
    config = ObjectivesConfig.model_validate({kind.name: {"weight": 1.0}})
    names = [each.name for each in config.active(has_teacher=False)]
    assert (kind.name in names) != kind().reads_teacher


def test_it_is_finite_and_moves_the_student(bench: Bench) -> None:
    loss = bench.loss()
    torch.autograd.backward(loss)
    moved = [p.grad for p in bench.module.parameters() if p.grad is not None]
    assert loss.isfinite() and loss.shape == () and loss.dtype == torch.float32
    assert all(gradient.isfinite().all() for gradient in moved)
    language = bench.student.parameters_of("language")
    assert any(p.grad is not None and p.grad.any() for p in language)


def test_it_reports_what_it_announces(bench: Bench) -> None:
    parts = bench.parts()
    assert sorted(parts) == sorted({TOKENS, *bench.settings.parts})
    assert parts[bench.settings.loss_part] == pytest.approx(
        bench.loss().item() / bench.settings.weight
    )
    for share in bench.settings.shares:
        assert 0 <= parts[share.right] <= parts[share.asked] > 0


def test_its_weight_scales_it(bench: Bench, teacher: TeacherFeatures) -> None:
    heavy = bench.settings.model_copy(update={"weight": 3 * bench.settings.weight})
    light, heavier = bench.loss().item(), Bench(heavy, teacher).loss().item()
    assert heavier == pytest.approx(3 * light) and light != 0


def test_it_is_a_mean_over_its_questions_or_scenes(bench: Bench) -> None:
    once = bench.loss().item()
    questions = bench.loss(totals=replace(WHOLE, questions=2 * WHOLE.questions)).item()
    scenes = bench.loss(totals=replace(WHOLE, scenes=2 * WHOLE.scenes)).item()
    halved, same = (questions, scenes) if bench.settings.per == "question" else (scenes, questions)
    assert halved == pytest.approx(once / 2) and same == pytest.approx(once)


def test_scenes_may_be_computed_apart(bench: Bench) -> None:
    apart = sum(bench.loss(bench.batch([name])).item() for name in SCENES)
    assert bench.loss().item() == pytest.approx(apart, rel=1e-5)


def test_without_questions_only_scenes_have_a_loss(bench: Bench) -> None:
    silent = bench.batch(asked=0)
    assert (bench.settings.loss_part in bench.parts(silent)) == (bench.settings.per == "scene")
    bench.module.runs_every_head = True
    loss = bench.loss(silent)
    bench.module.runs_every_head = False
    torch.autograd.backward(loss)
    assert loss.isfinite()
    assert (loss.item() == 0) == (bench.settings.per == "question")


def test_held_out_scenes_ask_for_tasks_alone(bench: Bench) -> None:
    """They come without targets."""
    parts = bench.parts(replace(bench.batch(), targets={}))
    if bench.settings.per == "question":
        assert bench.settings.loss_part in parts
        assert bench.settings.validation_curves.keys() <= VALIDATION_CURVES.keys()
    else:
        assert not bench.settings.validation_curves


@every_objective
def test_a_training_knows_the_code_of_its_own_objectives_alone(
    settings: ObjectiveSettings,
) -> None:
    """Else what nobody uses would be part of every key."""
    chosen = choose(settings, settings.modules())
    own = {chosen.module, *chosen.more}
    known = CODE.modules("threedrs_components.training.loop:train", tuple(own))
    kinds = {kind.__module__ for kind in OBJECTIVES.values()}
    losses = {f"{LOSSES}.{name}" for name in known_losses()}
    assert own <= set(known)
    assert not ((kinds | losses | {ObjectivesConfig.__module__}) - own) & set(known)
