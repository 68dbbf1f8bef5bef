import ast

import pytest

from threedrs_platform.identity.imports import Imports, find_imports


def imports(source: str, package: str = "threedrs_x.steps") -> Imports:
    return find_imports(ast.parse(source), package)


@pytest.mark.parametrize(
    ("statement", "module"),
    [
        ("import threedrs_x.loss", "threedrs_x.loss"),
        ("import threedrs_x.loss as cost", "threedrs_x.loss"),
        ("from threedrs_x.loss import WEIGHT as w", "threedrs_x.loss"),
        ("from threedrs_x.loss import *", "threedrs_x.loss"),
        ("from . import train", "threedrs_x.steps"),
        ("from .train import run", "threedrs_x.steps.train"),
        ("from .. import loss", "threedrs_x"),
        ("from ..loss import WEIGHT", "threedrs_x.loss"),
        ("def f():\n    class A:\n        import threedrs_x.loss", "threedrs_x.loss"),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import threedrs_x.loss", "threedrs_x.loss"),
        ("if not TYPE_CHECKING:\n    import threedrs_x.loss", "threedrs_x.loss"),
        ("importlib.import_module('threedrs_x.loss')", "threedrs_x.loss"),
        ("import_module(name='threedrs_x.loss')", "threedrs_x.loss"),
        ("__import__('threedrs_x.loss')", "threedrs_x.loss"),
        ("match x:\n    case 1:\n        import threedrs_x.loss", "threedrs_x.loss"),
        ("raise A(f'no {import_module(\"threedrs_x.loss\").x}')", "threedrs_x.loss"),
    ],
)
def test_an_imported_module_is_found(statement: str, module: str) -> None:
    found = imports(statement)
    assert module in found.modules
    assert not found.unknown


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from threedrs_x import loss", "threedrs_x.loss"),
        ("from .. import loss", "threedrs_x.loss"),
        ("from . import *", "threedrs_x.steps.*"),
        ("import threedrs_x\nthreedrs_x.loss.WEIGHT", "threedrs_x.loss"),
        ("import threedrs_x.steps\nthreedrs_x.loss.WEIGHT", "threedrs_x.loss"),
        ("import threedrs_x as x\nx.steps.train.run()", "threedrs_x.steps.train"),
        ("def f():\n    return x.loss.WEIGHT\nimport threedrs_x as x", "threedrs_x.loss"),
        ("from .. import steps\nsteps.train.run()", "threedrs_x.steps.train"),
    ],
)
def test_a_name_that_may_be_a_module_is_found(source: str, name: str) -> None:
    assert name in imports(source).names


def test_imports_for_type_checkers_are_left_out() -> None:
    assert imports("if TYPE_CHECKING:\n    import threedrs_x.loss") == Imports((), (), ())


def test_names_of_foreign_packages_are_left_out() -> None:
    found = imports("import numpy as np\nfrom torch import nn\nnp.linalg.norm(nn.Linear)")
    assert found == Imports(("numpy", "torch"), (), ())


@pytest.mark.parametrize(
    ("source", "unknown"),
    [
        ("import_module(name)", "1: import_module(name)"),
        ("\nimportlib.import_module(f'threedrs_x.{x}')", "2: importlib.import_module(f'threedrs_x"),
        ("import_module('.loss', __package__)", "1: import_module('.loss', __package__)"),
        ("load = importlib.import_module", "1: importlib.import_module"),
        ("list(map(import_module, names))", "1: import_module"),
        ("from importlib import import_module as load", "1: from importlib import import_module"),
        ("__import__('threedrs_x', fromlist=names)", "1: __import__('threedrs_x', fromlist="),
        ("builtins.__import__(name)", "1: builtins.__import__(name)"),
        ("exec(text)", "1: exec"),
        ("x = eval", "1: eval"),
        ("builtins.exec(text)", "1: builtins.exec"),
        ("runpy.run_path(file)", "1: runpy.run_path"),
        ("runpy.run_module('threedrs_x')", "1: runpy.run_module"),
        ("importlib.util.spec_from_file_location('x', file)", "1: importlib.util.spec_from_file"),
    ],
)
def test_code_that_is_loaded_by_a_computed_name_is_listed(source: str, unknown: str) -> None:
    (found,) = imports(source).unknown
    assert found.startswith(unknown)


@pytest.mark.parametrize(
    "source", ["from importlib import import_module", "model.eval()", "import importlib"]
)
def test_what_loads_nothing_is_not_listed(source: str) -> None:
    assert not imports(source).unknown
