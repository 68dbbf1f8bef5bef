"""Students and scenes opened for questions; the last few of each stay open."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar

import torch

from threedrs_components.models.of_steps import recipe_of
from threedrs_components.models.prefix import remembering
from threedrs_components.models.recipe import Recipe, open_model
from threedrs_components.models.scenes import AskedScene, scene_in_folder, scene_of_run
from threedrs_components.scenes.folder_styles import find_style
from threedrs_components.scenes.rgbd_folder import RGBDFolder
from threedrs_components.students.folder import resolve_student
from threedrs_components.students.student import Student
from threedrs_dashboards.ask.cells import AskedCell
from threedrs_dashboards.ask.place import Place
from threedrs_dashboards.ask.rooms import room_folder
from threedrs_dashboards.store import Store
from threedrs_dashboards.viewer.missing import Missing
from threedrs_dashboards.viewer.sources import LARGEST_STUDENT_BYTES

KEPT_MODELS, KEPT_SCENES = 2, 2
T = TypeVar("T")


@dataclass(frozen=True)
class Model:
    """A student that is open, and what it is asked by."""

    steps: AskedCell
    recipe: Recipe
    student: Student
    """Remembers the frames that it saw last."""


@dataclass(frozen=True)
class Seen:
    """A scene that is open, and what should be known of it."""

    scene: AskedScene
    remarks: list[str] = field(default_factory=list)
    state: tuple[int, ...] = ()
    """Of a room's files when they were read: how many there were, and when the newest changed."""


class _Kept(Generic[T]):
    """The things that were used last."""

    def __init__(self, most: int) -> None:
        self._most, self._things = most, OrderedDict[object, T]()

    def drop(self, key: object) -> None:
        """It is not wanted any more."""
        self._things.pop(key, None)

    def clear(self) -> None:
        """None of them is."""
        self._things.clear()

    def get(self, key: object) -> T | None:
        """One of them."""
        return self._things.get(key)

    def of(self, key: object, make: Callable[[], T]) -> T:
        """One of them; the oldest goes before another is made, so that both need not fit."""
        found = self._things.get(key)
        if found is None:
            while len(self._things) >= self._most:
                self._things.popitem(last=False)
            found = self._things[key] = make()
        self._things.move_to_end(key)
        return found


class Opening:
    """Opens what a place names. Used by one thread at a time."""

    def __init__(self, store: Store, rooms: Path | None) -> None:
        self._store, self._rooms = store, rooms
        self._models, self._scenes = _Kept[Model](KEPT_MODELS), _Kept[Seen](KEPT_SCENES)

    def model(self, place: Place) -> Model:
        """The trained student of a cell.

        Raises:
            Missing: it has not been trained, or is too large for a page.
            CheckpointError: it cannot be read.
        """
        key = (place.run_id, place.cell_id, place.seed)
        return self._models.of(key, lambda: self._open_model(place))

    def scene(self, place: Place, model: Model) -> Seen:
        """What is asked about; a room whose files have changed since is read anew.

        Raises:
            ConfigError: there is no such scene.
            DataError: it is unusable.
        """
        state = _state(room_folder(self._rooms, place.room)) if place.room else ()
        opened = self._scenes.get(place)
        if opened is not None and opened.state != state:
            self._scenes.drop(place)
        return self._scenes.of(place, lambda: self._open_scene(place, model, state))

    def opened_scene(self, place: Place) -> Seen | None:
        """The same, if it is open."""
        return self._scenes.get(place)

    def close_models(self) -> None:
        """Give back the memory of the students."""
        self._models.clear()
        torch.cuda.empty_cache()

    def _open_model(self, place: Place) -> Model:
        steps = AskedCell(self._store, place)
        recipe = recipe_of(steps)
        _refuse_large(recipe)
        return Model(steps, recipe, remembering(open_model(recipe)))

    def _open_scene(self, place: Place, model: Model, state: tuple[int, ...]) -> Seen:
        remarks: list[str] = []
        if not place.room:
            return Seen(scene_of_run(model.steps, place.scene, remarks.append), remarks)
        config = model.recipe.prepare
        source = RGBDFolder(room_folder(self._rooms, place.room), config.num_frames)
        return Seen(scene_in_folder(source, config, None, remarks.append), remarks, state)


def _state(folder: Path) -> tuple[int, ...]:
    """Number of a room's files, and when the newest was changed (nanoseconds)."""
    style = find_style(folder)
    times = [] if style is None else [file.stat().st_mtime_ns for file in style.files(folder)]
    return len(times), max(times, default=0)


def _refuse_large(recipe: Recipe) -> None:
    folder = resolve_student(recipe.folder, recipe.student)
    size = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
    if size > LARGEST_STUDENT_BYTES and not torch.cuda.is_available():
        raise Missing(
            f"this student has {size / 2**30:.1f} GiB of weights; without a GPU this page asks "
            f"students of at most {LARGEST_STUDENT_BYTES / 2**30:.0f} GiB. `workflows ask` does, "
            "however long that takes"
        )
