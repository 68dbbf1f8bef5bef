from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ["platform", "components", "workflows", "dashboards"]
TESTS = sorted((ROOT / "tests").rglob("*.py"))
MODULES = sorted(path for folder in SOURCES for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("folder", SOURCES)
def test_source_roots_are_no_packages(folder: str) -> None:
    assert not (ROOT / folder / "__init__.py").exists(), (
        f"{folder}/ is a source root: code belongs into {folder}/threedrs_{folder}/"
    )


def test_tests_are_no_packages() -> None:
    assert not [path for path in TESTS if path.name == "__init__.py"]


def test_import_platform_at_the_root_is_the_standard_library() -> None:
    code = "import platform; print(platform.system())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_every_package_folder_has_an_init() -> None:
    holes = {path.parent for path in MODULES if "threedrs_" in str(path.relative_to(ROOT))}
    assert not [str(folder) for folder in sorted(holes) if not (folder / "__init__.py").exists()]


def test_every_package_is_in_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packed = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    there = {
        f"{room}/{path.parent.name}"
        for room in SOURCES
        for path in ROOT.glob(f"{room}/*/__init__.py")
    }
    assert {*packed} == there and "workflows/threedrs" in there
    assert all((ROOT / folder / "py.typed").exists() for folder in packed)


def test_modules_are_imported_by_their_own_name_only() -> None:
    """`components.threedrs_components.x` would be a second module with second classes."""
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in [*MODULES, *TESTS]
        for name in _imported(path)
        if name.split(".")[0] in ("components", "workflows", "dashboards")
    ]
    assert not wrong


def _imported(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.append(node.module)
    return names


@pytest.mark.parametrize(
    "module",
    [
        "threedrs_platform",
        "threedrs_platform.config",
        "threedrs_platform.records",
        "threedrs_components.scenes.registry",
        "threedrs_components.teachers.registry",
        "threedrs_components.students.registry",
        "threedrs_components.objectives.registry",
        "threedrs_components.training.config",
        "threedrs_components.benchmarks.config",
        "threedrs_workflows.experiment",
        "threedrs_workflows.grid.cells",
        "threedrs_workflows.cli",
        "threedrs_workflows.cli.validate",
        "threedrs",
    ],
)
def test_light_modules_stay_light(module: str) -> None:
    code = (
        f"import sys, {module}\n"
        "heavy = {'torch', 'ray', 'mlflow', 'transformers', 'deepspeed', 'optuna', 'scipy'}\n"
        "print(*sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_cross_room_imports_point_one_way() -> None:
    below = {
        "threedrs_platform": {"components", "workflows", "dashboards"},
        "threedrs_components": {"workflows", "dashboards"},
        "threedrs_workflows": {"dashboards"},
        "threedrs_dashboards": {"workflows"},
    }
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in MODULES
        for room in [path.relative_to(ROOT).parts[1]]
        for name in _imported(path)
        if name.split(".")[0] in {f"threedrs_{other}" for other in below.get(room, ())}
    ]
    assert not wrong


def test_no_hint_names_a_package_of_an_index() -> None:
    """The project is on no index: extras are installed from the checkout."""
    named = "threedrs" + "["
    assert not [file for file in MODULES if f"'{named}" in file.read_text(encoding="utf-8")]
