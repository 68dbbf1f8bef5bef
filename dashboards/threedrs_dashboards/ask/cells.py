"""The steps of a cell as `components.models` reads them, from a database that is only read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from threedrs_dashboards.ask.place import Place
from threedrs_dashboards.store import Store
from threedrs_dashboards.viewer.cells import view_cells
from threedrs_platform.database.runs import Runs
from threedrs_platform.steps import StepSpec


class AskedCell:
    """A `StepsOfCell` of the workspace that the pages show."""

    def __init__(self, store: Store, place: Place) -> None:
        self._store, self.run_id = store, place.run_id
        wanted = [(place.cell_id, place.seed)]
        (self._viewed,) = view_cells(store.database, place.run_id, wanted)

    @property
    def title(self) -> str:
        """Cell and seed."""
        return f"{self._viewed.title}, seed {self._viewed.seed}"

    @cached_property
    def specs(self) -> Mapping[str, StepSpec]:
        """The steps by role, as they were planned."""
        mine = (self._viewed.cell_id, self._viewed.seed)
        cells = Runs(self._store.database).cells(self.run_id)
        return next(each.steps for each in cells if (each.cell_id, each.seed) == mine)

    def folder(self, role: str) -> Path:
        """What a step made, verified.

        Raises:
            Missing: the cell has no such step, or it has not succeeded.
            ArtifactError: the store no longer holds it.
        """
        return self._viewed.folder(role, self._store.artifacts)
