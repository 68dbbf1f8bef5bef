"""What of a source counts: cases write two sources at once, `x = «1|2»` is `x = 1` and `x = 2`."""

import ast
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from threedrs_platform.identity import syntax
from threedrs_platform.identity.syntax import read_syntax

GOLDEN_SOURCE = Path(__file__).with_name("golden_source.txt")
GOLDEN = "03f0313b74ef43898cc96be127f65c016e2746dbbce3c788372371acb90f0150"


def digest(source: str) -> str:
    return read_syntax(ast.parse(source)).digest


def names(source: str) -> dict[str, str]:
    return read_syntax(ast.parse(source)).names


def variants(case: str) -> tuple[str, str]:
    first, second = (re.sub("«(.*?)\\|(.*?)»", rf"\{group}", case, flags=re.S) for group in (1, 2))
    return first, second


@pytest.mark.parametrize(
    "case",
    [
        "«|# why\n\n»def f():\n    «|'''Doc.'''\n    »return «1|(1)»",
        "class A(B):\n    «pass|'''Doc.'''\n    ...»",
        "if x:\n    f()«|\nelse:\n    pass»",
        "«|if TYPE_CHECKING:\n    from a import B\n    B = 2\n»x = 1",
        "«x = 1|if typing.TYPE_CHECKING:\n    B = 2\nelse:\n    x = 1»",
        "if a:\n    b()«|\nelif TYPE_CHECKING:\n    c()»",
        "x = «16|0x1_0»",
        "def f(x«|: int», *y«|: str», z«|: float»=1)«| -> None»: ...",
        "class A:\n    def f(x«|: int»)«| -> int»: ...",
        "def f():\n    «|y: str\n    »x«|: int» = 1",
        "x«|: Final[int]» = 1\n«|y: int»",
        "@property\ndef f(x)«| -> int»: ...",
        "@torch.no_grad()\ndef f(x«|: int»): ...",
        "@x.setter\ndef x(y«|: int»): ...",
    ],
)
def test_what_runs_nothing_does_not_count(case: str) -> None:
    one, other = variants(case)
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    "case",
    [
        "raise ValueError('no «file|folder»')",
        "raise ValueError(«'no such file'|f'{names[0].y!r} is no file'»)",
        "raise ValueError(f'«no|{len(x)} of {sorted(x)}»: none')",
        "raise ValueError(«'no x'|', '.join(str(n) for n in x)»)",
        "raise ValueError(«'no x'|'no {} of {}'.format(x, 1)»)",
        "raise ValueError(«'no x'|'no %s' % x»)",
        "raise ValueError('no x'«| + y + (f'({z})' if z else '')»)",
        "raise errors.SceneError(x, reason='no «file|folder»')",
        "raise ConfigError([Fault('no «file|folder»', path='a')])",
        "raise DataError('no «file|folder»' if x else 'no «scene|world»')",
        "assert x«|, (x, f'{y} is wrong', len(y))»",
        "task.warn(f'«skipped {x}|left out {x}: {y}»')",
        "warnings.warn('an «old|outdated» name', stacklevel=2)",
        "_logger.info('read «%s|the file %s»', x)",
        "logging.getLogger('x').error('no «file|folder»')",
        "class A(DataError):\n    def __init__(self, x):\n        super().__init__(f'«of|in» {x}')",
        "class A(Exception):\n    text = 'no «file|folder»'",
    ],
)
def test_the_wording_of_a_message_does_not_count(case: str) -> None:
    one, other = variants(case)
    assert digest(one) == digest(other)


@pytest.mark.parametrize(
    "case",
    [
        "x = «1|1.0»",
        "def f():\n    return«| None»",
        "x = 'a «b|c»'",
        "x = f'a {«b|c»}'",
        "x = f'«a|b» {b}'",
        "x = f'{a}«b{c}|{c}b»'",
        "def f(x=«1|2»): ...",
        "@«a|b»\ndef f(): ...",
        "def «f|g»(): ...\ndef «g|f»(): ...",
        "if not TYPE_CHECKING:\n    x = «1|2»",
        "if flags.TYPE_CHECKING:\n    x = «1|2»",
        "class A:\n    x: «int|float» = 1",
        "class A:\n    x: «int|float»",
        "def f():\n    class A:\n        x: «int|str»",
        "@f.register\ndef g(x: «int|str»): ...",
        "@computed_field\ndef g(x) -> «int|str»: ...",
        "def f(x: g(«1|2»)): ...",
        "x: g(«1|2») = 1",
        "x[f(«1|2»)]: int",
    ],
)
def test_what_runs_counts(case: str) -> None:
    one, other = variants(case)
    assert digest(one) != digest(other)


@pytest.mark.parametrize(
    "case",
    [
        "raise «ValueError|KeyError»('no file')",
        "raise SceneError(«x|y», 'no file')",
        "raise ValueError('no file') from «x|y»",
        "raise StepFailed('no file', '«oom|bug»')",
        "raise DataError('no file' if x == 'the «first|last»' else 'no folder')",
        "raise ValueError(f'no {«next(x)|x»}')",
        "raise ValueError(f'no {g(«1|2»)}')",
        "raise ValueError(f'no {(«y|z» := x)}')",
        "raise fault('no «file|folder»')",
        "raise ValueError(text_of('no «file|folder»'))",
        "raise ValueError(TEXTS['no «file|folder»'])",
        "raise Found('at «home|work» now')",
        "error = ValueError('no «file|folder»')",
        "assert «x|y», 'no file'",
        "assert x, f(«1|2»)",
        "warnings.warn('no file', stacklevel=«2|3»)",
        "x = task.warn('no «file|folder»')",
        "table.info('no «file|folder»')",
        "class SquaredError(Metric):\n    name = 'mean «squared|square» error'",
        "class A(Exception):\n    code = «1|2»",
        "class A(Exception):\n    failure = '«bug|oom»'",
    ],
)
def test_what_an_error_does_besides_wording_counts(case: str) -> None:
    one, other = variants(case)
    assert digest(one) != digest(other)


def test_the_digest_of_a_source_stays() -> None:
    """If this fails, every result ever made becomes a miss; raise ANALYSIS_VERSION, too."""
    assert digest(GOLDEN_SOURCE.read_text()) == GOLDEN


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14"])
def test_every_python_finds_the_same_digest(version: str) -> None:
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-c", ""], capture_output=True).returncode:
        pytest.skip(f"no Python {version} here")
    script = (
        "import ast, pathlib, sys\n"
        "from threedrs_platform.identity.syntax import read_syntax\n"
        "source = pathlib.Path(sys.argv[1]).read_text()\n"
        "print(read_syntax(ast.parse(source)).digest)\n"
    )
    root = Path(syntax.__file__).parents[2]
    command = [python, "-c", script, str(GOLDEN_SOURCE)]
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.stdout.strip() == GOLDEN, done.stderr


def test_where_python_cuts_the_literal_parts_of_an_f_string_does_not_count() -> None:
    tree = ast.parse("f'ab{x}'")
    before = read_syntax(tree).digest
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            cut = [ast.Constant("a"), ast.Constant(""), ast.Constant("b")]
            node.values = [*cut, *node.values[1:], ast.Constant("")]
    assert read_syntax(tree).digest == before


SOURCE = """
import math
LIMIT = 3
def bleu(x):
    def inner(): ...
    return x + LIMIT
class References:
    weight: float = 1
    @property
    def words(self): return 1
    @words.setter
    def words(self, value): return 2
    class Inner:
        def deep(self): return 3
"""


def test_each_definition_has_a_digest_by_its_qualified_name() -> None:
    assert list(names(SOURCE)) == [
        "bleu",
        "References.words",
        "References.Inner.deep",
        "References.Inner",
        "References",
        "<module>",
        "<order>",
    ]


@pytest.mark.parametrize(
    ("edit", "changed"),
    [
        (("LIMIT = 3", "LIMIT = 4"), {"<module>"}),
        (("x + LIMIT", "x - LIMIT"), {"bleu"}),
        (("def inner(): ...", "def inner(): return 1"), {"bleu"}),
        (("float = 1", "float = 2"), {"References"}),
        (("return 1", "return 0"), {"References.words"}),
        (("return 2", "return 0"), {"References.words"}),
        (("return 3", "return 0"), {"References.Inner.deep"}),
        (("class Inner:", "class Inner(dict):"), {"References.Inner"}),
    ],
)
def test_an_edit_shows_under_the_name_it_was_made_in(
    edit: tuple[str, str], changed: set[str]
) -> None:
    before, after = names(SOURCE), names(SOURCE.replace(*edit))
    assert {name for name in before if before[name] != after[name]} == changed | {"<order>"}


def test_reading_does_not_alter_the_tree() -> None:
    tree = ast.parse("def f(x: int) -> int:\n    y: int = 1\n    return f'{x:}'\n")
    before = ast.dump(tree)
    read_syntax(tree)
    assert ast.dump(tree) == before
