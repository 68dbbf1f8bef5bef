"""What a viewer's URL says, with everything that it leaves out filled in."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.requests import Request

from threedrs_dashboards.defaults import first_cells
from threedrs_dashboards.pages import Focus
from threedrs_dashboards.query import number, text, url
from threedrs_dashboards.store import Store
from threedrs_dashboards.viewer.cells import (
    CellChoice,
    ViewedCell,
    choose_cell,
    choose_seed,
    list_cells,
)
from threedrs_dashboards.viewer.cells import view_cells as view
from threedrs_dashboards.viewer.missing import Missing
from threedrs_dashboards.viewer.places import Places, Token
from threedrs_dashboards.viewer.scene_data import SceneData
from threedrs_platform.database.measurements import RunSummary

PATH = "/scenes"
LAST_LAYER = -1


@dataclass(frozen=True)
class Chosen:
    """Whose scenes are looked at."""

    run: RunSummary
    known: tuple[CellChoice, ...]
    cell: ViewedCell
    """In green: "ours"."""
    against: ViewedCell
    """In red: the baseline."""

    @property
    def focus(self) -> Focus:
        """What links of the navigation keep."""
        return Focus(self.cell.cell_id, self.against.cell_id, self.cell.seed)

    def words(self) -> dict[str, str | int | None]:
        """As words of a query string."""
        return {
            "run": self.run.run_id,
            "cell": self.cell.cell_id,
            "seed": self.cell.seed,
            "against": self.against.cell_id,
        }


@dataclass(frozen=True)
class ViewState:
    """What is shown of one scene."""

    scene_id: str
    sample_id: str
    token: Token
    """In the first view."""
    other: int
    """Frame of the second view."""
    layer: int
    metric: str = ""
    """That the reader came with; which question is shown first depends on it."""

    def words(self) -> dict[str, str | int | None]:
        """As words of a query string."""
        return {
            "scene": self.scene_id,
            "sample": self.sample_id,
            "a": self.token.frame,
            "b": self.other,
            "token": f"{self.token.row},{self.token.column}",
            "layer": self.layer,
            "metric": self.metric,
        }


def choose(request: Request, store: Store) -> Chosen:
    """Run, cell, seed and baseline of a URL.

    Raises:
        ConfigError: one of them does not exist.
    """
    run = store.run(text(request, "run"))
    known = list_cells(store.database, run.run_id)
    first = first_cells(store, run.run_id)
    if first is None:
        raise Missing(f"run {run.run_id} has no cells")
    baseline = choose_cell(known, text(request, "against") or first.reference, run.run_id)
    cell = choose_cell(known, text(request, "cell") or first.ours, run.run_id)
    seed = choose_seed(request, cell.seeds, known)
    twin = seed if seed in baseline.seeds else baseline.seeds[0]
    pair = [(cell.cell_id, seed), (baseline.cell_id, twin)]
    ours, against = view(store.database, run.run_id, pair)
    return Chosen(run, tuple(known), ours, against)


def view_state(request: Request, scene: SceneData, places: Places, sample_id: str) -> ViewState:
    """Views, token and layer of a URL; at first two views that share much, and a shared token.

    Raises:
        ConfigError: a number is none.
    """
    first, second = places.telling_views(scene.cameras)
    last = places.num_frames - 1
    first = number(request, "a", first, 0, last)
    second = number(request, "b", second, 0, last)
    return ViewState(
        scene.prepared.scene_id,
        sample_id,
        _token(text(request, "token"), first, places) or places.telling_token(first, second),
        second,
        number(request, "layer", LAST_LAYER, LAST_LAYER),
        text(request, "metric"),
    )


def _token(given: str, frame: int, places: Places) -> Token | None:
    if not given:
        return None
    row, comma, column = given.partition(",")
    if not (comma and row.isdecimal() and column.isdecimal()):
        raise Missing(f"{given!r} is no token; give its row and column, e.g. token=0,2")
    last = places.grid - 1
    if int(row) > last or int(column) > last:
        raise Missing(f"there is no token {given}: rows and columns end at {last}")
    return Token(frame, int(row), int(column))


@dataclass(frozen=True)
class Links:
    """URLs from one state to its neighbours."""

    chosen: Chosen
    state: ViewState

    def to(self, **changes: str | int | None) -> str:
        """The same view with something changed."""
        return url(PATH, **{**self.words(), **changes})

    def words(self) -> dict[str, str | int | None]:
        """This state as words of a query string."""
        return {**self.chosen.words(), **self.state.words()}

    def token(self, row: int, column: int) -> str:
        """The same view with another token."""
        return self.to(token=f"{row},{column}")

    def picture(self, path: str, **words: str | int | None) -> str:
        """A picture of the scene."""
        return url(path, **{**self.chosen.words(), "scene": self.state.scene_id, **words})
