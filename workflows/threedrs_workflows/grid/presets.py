"""Presets: named Experiment trees that grids start from, each with a small twin for --smoke."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from threedrs_platform.config.strict_yaml import Document, KeyPath, load_document
from threedrs_platform.config.suggestions import did_you_mean
from threedrs_platform.errors import ConfigError, Fault
from threedrs_workflows.grid.environment import SECTION, fill_in

SMOKE = ".smoke"


def presets_folder() -> Path:
    """Where the presets lie: inside the package when installed, in `workflows/presets` otherwise.

    The second is looked at only where the first does not exist, so that a checkout never reads a
    copy that an earlier installation left behind.
    """
    package = Path(__file__).resolve().parents[1]
    installed = package / "presets"
    return installed if installed.is_dir() else package.parent / "presets"


def preset_names() -> list[str]:
    """Names that a grid may give as `preset`."""
    return sorted(path.stem for path in presets_folder().glob("*.yaml") if SMOKE not in path.stem)


def load_preset(
    name: str,
    grid: Document,
    at: KeyPath,
    *,
    smoke: bool = False,
    env: Mapping[str, str] = MappingProxyType({}),
) -> Document:
    """A preset by its name, or by the path of a YAML file relative to the grid.

    Args:
        name: of the preset, or a path.
        grid: that asks for it.
        at: where it does.
        smoke: the small twin.
        env: variables of the grid; they go before those that the preset declares.

    Raises:
        ConfigError: there is none of that name (placed in the grid), or it is faulty itself.
    """
    path = _path_of(name, grid)
    if path is None:
        message = f"no preset {name!r}{did_you_mean(name, preset_names())}"
        raise ConfigError([grid.fault(message, at)])
    if smoke:
        path = path.with_name(f"{path.stem}{SMOKE}{path.suffix}")
    if not path.is_file():
        what = f"its small twin for --smoke, {path.name}," if smoke else str(path)
        cure = "; leave --smoke out, and shorten what is real, e.g. by --set training.steps=10"
        message = f"preset {name!r}: {what} does not exist{cure if smoke else ''}"
        raise ConfigError([grid.fault(message, at)])
    document, faults = load_document(path), list[Fault]()
    _, data = fill_in(document, faults, env)
    if faults:
        raise ConfigError(faults)
    return replace(document, data={key: data[key] for key in data if key != SECTION})


def _path_of(name: str, grid: Document) -> Path | None:
    if name.endswith((".yaml", ".yml")):
        return Path(grid.file).parent / name
    return presets_folder() / f"{name}.yaml" if name in preset_names() else None
