"""What the verbs that use a trained student share: which one, and how it is opened."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from threedrs_platform.database.results import Results
from threedrs_platform.errors import ConfigError, Fault
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.cli.run_arguments import RUN_HELP
from threedrs_workflows.cli.run_cells import cell_of_seed, cells_called

if TYPE_CHECKING:
    from threedrs_components.models.recipe import Recipe
    from threedrs_workflows.models.of_cell import CellSteps


def add_cell_arguments(parser: argparse.ArgumentParser) -> None:
    """--run and --seed."""
    parser.add_argument("--run", metavar="RUN", help=f"whose cell: {RUN_HELP}")
    parser.add_argument("--seed", type=int, metavar="N", help="of the cell; default: its first")


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL, and what says which of several it is."""
    parser.add_argument(
        "model",
        metavar="CELL|CHECKPOINT",
        help="a cell's id, name or label (its trained student), or a folder with a student",
    )
    add_cell_arguments(parser)
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="of a CHECKPOINT: how scenes are prepared and questions worded (default: micro for "
        "micro students, else as_released; published weights need one, e.g. 3drs)",
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change a setting of the preset, e.g. prepare.num_frames=16; may be repeated",
    )
    parser.add_argument("--device", metavar="DEVICE", help="cpu, cuda, ...; default: a GPU if any")


def output_folder(text: str) -> Path:
    """A folder that is written to: one that is there, or none yet."""
    folder = Path(text)
    if not text.strip() or (folder.exists() and not folder.is_dir()):
        raise argparse.ArgumentTypeError(f"{text!r} is no folder")
    return folder


@dataclass(frozen=True)
class Named:
    """What a person says to mean one trained student."""

    name: str
    """A cell, or a folder."""
    run: str | None = None
    seed: int | None = None
    preset: str | None = None
    settings: tuple[str, ...] = ()
    """`KEY=VALUE` changes to the preset."""
    workspace: str | PathLike[str] | None = None
    database: str | None = None

    @classmethod
    def of(cls, args: argparse.Namespace) -> Named:
        """As the flags of `add_model_arguments` say it."""
        preset, settings = args.preset, tuple(args.set)
        return cls(args.model, args.run, args.seed, preset, settings, args.workspace, args.db)


def find_cell(named: Named, opened: ExitStack) -> CellSteps:
    """A cell with its steps; the workspace stays open as long as `opened`.

    Raises:
        ConfigError: there is no such run, cell or seed.
    """
    from threedrs_workflows.models.of_cell import CellSteps

    workspace = opened.enter_context(
        find_workspace(named.workspace, named.database, with_runs=True)
    )
    results = Results(workspace.database)
    found = results.run_results(results.find_run(named.run).run_id, metrics=())
    cell = cell_of_seed(cells_called(found, named.name), named.seed)
    return CellSteps(workspace, found.run.run_id, cell)


def find_model(named: Named, opened: ExitStack) -> tuple[Recipe, CellSteps | None]:
    """A student; with its cell, where it is one of a run.

    Raises:
        ConfigError: there is no such cell, or flags of one kind stand beside a name of the other.
        CheckpointError: the folder holds no student.
    """
    folder = Path(named.name)
    if not folder.is_dir():
        if named.preset is not None or named.settings:
            flag = "--preset" if named.preset is not None else "--set"
            message = (
                f"{named.name!r} is no folder, and the settings of a cell are those of its grid; "
                f"leave {flag} out"
            )
            raise ConfigError([Fault(message, flag)])
        steps = find_cell(named, opened)
        return steps.recipe(), steps
    from threedrs_workflows.models.of_folder import recipe_of_folder

    return recipe_of_folder(folder, named.preset, named.settings), None
