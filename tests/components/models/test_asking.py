"""Students with fusion are asked with what their run has stored; prefixes are run once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from threedrs_components.benchmarks.wording import Wording
from threedrs_components.models.asking import Kind, ask, ask_again
from threedrs_components.models.prefix import remembering
from threedrs_components.models.recipe import Recipe
from threedrs_components.models.scenes import AskedScene
from threedrs_components.scenes.prepare_config import PrepareConfig
from threedrs_components.students.fusion_settings import FusionSettings
from threedrs_components.students.guidance import Guidance, guidance_of
from threedrs_components.students.student import Student
from threedrs_components.testing.synthetic import (
    random_samples,
    random_scene,
    random_student,
    write_random_features,
)
from threedrs_components.training.prediction import predict_scene
from threedrs_platform.errors import CheckpointError

WIDTH = 24


def recipe_with(student: Student, features: Path | None) -> Recipe:
    return Recipe(
        "fused", Path("nowhere"), student.config, "stored", PrepareConfig(), Wording(), {},
        "a test", features,
    )  # fmt: skip


def test_a_student_with_fusion_reads_what_its_run_has_stored(tmp_path: Path) -> None:
    scene, student = random_scene("room", 0), random_student().eval()
    write_random_features(scene, tmp_path, WIDTH, 0)
    width, source = Guidance(tmp_path, FusionSettings(mode="add", gate="none")).check(
        {"room": scene}, ["room"]
    )
    student.fuse(FusionSettings(mode="add", gate="none"), width, source)
    seen, stored = AskedScene(scene, None), recipe_with(student, tmp_path)
    samples = [each for each in random_samples(scene, 3, 0) if each.kind == "ground"]
    maps = guidance_of(student, tmp_path)(scene)
    expected = predict_scene(student, scene, samples, guidance=maps)
    found = ask(stored, student, seen, [(each.prompt, "ground") for each in samples], as_is=True)
    for answer, wanted in zip(found, expected, strict=True):
        assert answer.prediction is not None
        assert answer.prediction.scores == pytest.approx(wanted.scores, abs=1e-6)
    for nothing in (recipe_with(student, None), recipe_with(student, tmp_path / "empty")):
        with pytest.raises(CheckpointError, match=r"fusion.*stored of scene room"):
            ask(nothing, student, seen, [("what", "text")])
        with pytest.raises(CheckpointError, match=r"fusion.*stored of scene room"):
            ask_again(nothing, student, seen, samples)


def test_a_prefix_is_run_again_for_other_frames_only() -> None:
    plain = random_student().eval()
    student, recipe = remembering(plain), recipe_with(plain, None)
    rooms = [AskedScene(random_scene(name, at), None) for at, name in enumerate(("one", "two"))]
    words: list[tuple[str, Kind]] = [
        ("what color is the lamp", "text"),
        ("where is the bed", "text"),
    ]
    first = [
        ask(recipe, student, room, [word], max_new_tokens=4)[0].text
        for room in (rooms[0], rooms[0], rooms[1], rooms[0])
        for word in words
    ]
    alone = [
        ask(recipe, plain, room, [word], max_new_tokens=4)[0].text
        for room in (rooms[0], rooms[0], rooms[1], rooms[0])
        for word in words
    ]
    assert first == alone
    watched: Any = student
    assert watched.runs == 3
