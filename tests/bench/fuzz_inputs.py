"""Spoiled inputs of every kind that people and killed processes leave: refused, taken, or a crash?

    nice -n 10 python tests/bench/fuzz_inputs.py [--inputs 100000] [--seed 0]

Families: `yaml` (texts of all shipped grids against PyYAML's meaning), `grids` (small and shipped
ones, expanded: equal data gives equal cells), `rules` (exclude, override and resources of steps
against a plain reading of them), `where` (expressions against Python's meaning), `settings`
(`--set`), `records` (annotations and predictions), `studies` (Optuna's journal), `tails` (live
files), `events` (the journal's own JSON), `stamps` (artifacts and what vouches for them), `seals`
(unfinished work), `retries` (how often a step is tried again, also in turns that are lost). Each
input has a seed of its own, so that a crash is made again by `--seed N --inputs 1`. Exit code 1 if
anything but an error of ours was raised, or something was silently read as something else.
"""

from __future__ import annotations

import argparse
import ast
import copy
import datetime
import json
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import yaml

from threedrs_components.benchmarks import scoring
from threedrs_components.testing.spoiled_records import PREDICTIONS, SpoiledFiles
from threedrs_platform.compute.recorder import LiveTail
from threedrs_platform.config.strict_yaml import load_document, parse_value
from threedrs_platform.database.studies import find_studies, load_study, open_storage
from threedrs_platform.errors import DataError, ThreedrsError
from threedrs_platform.workspace import Workspace
from threedrs_workflows.grid.cells import expand
from threedrs_workflows.grid.where import parse_where
from threedrs_workflows.testing.ruled_grids import attempt_rules, small_grid
from threedrs_workflows.testing.spoiled_state import (
    SpoiledArtifact,
    SpoiledJournal,
    SpoiledWork,
    Wrong,
    attempt_retries,
)

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "components" / "benchmarks" / "fixtures"
SHIPPED = [ROOT / "ablations.yaml", *sorted((ROOT / "workflows").glob("grids/*.yaml"))]
SHARES = {
    "yaml": 120, "grids": 165, "rules": 20, "where": 285, "settings": 110, "records": 12,
    "studies": 15, "tails": 53, "events": 70, "stamps": 40, "seals": 50, "retries": 60,
}  # fmt: skip
"""Of a thousand inputs; what takes longest has fewest."""
TOKENS = (
    ": ", "- ", "\n", "  ", "#", "'", '"', "[", "]", "{", "}", ",", "&a ", "*a", "!!int ", "<<: ",
    "yes", "null", "~", "1e999", "1e3", "-0", "007", "0x1f", "1_000", "12:30", "2026-01-02", ".nan",
    "\t", "\x00", "\ud800", "\u2028", "\xff", "%", "@", "|", ">", "? ", "---\n", "...\n", "true",
    "99999999999999999999", "${HOME}", "a.b.c", "seeds", "base", "\r\n",
)  # fmt: skip
NAMES = {"teacher": "mae", "steps": 700, "alignment.weight": 2.5, "alignment.layers": [-1, 2],
         "held_out": 0, "fused": True, "checkpoint": None}  # fmt: skip
WORDS = (
    *NAMES, "and", "or", "not", "in", "not in", "==", "!=", "<", "<=", ">", ">=", "(", ")", "[",
    "]", ",", "1", "-1", "2.5", "700", "'mae'", "'x'", "true", "false", "null", "True", "None", "x",
    "lambda", "__import__('os')", "{}", "1e999", "f''", "\\", "'", "0", "is", "if", "else", "**",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2.5, 1e308, float("nan"), "", "mae", "none", [], {}, [[]],
    [1, 1], {"a": 1}, "${WEIGHT}", 10**30, "finetune", "a" * 300)  # fmt: skip


def spoiled(text: str, draw: random.Random) -> str:
    """A text with one to three edits."""
    for _ in range(draw.randint(1, 3)):
        at = draw.randrange(len(text) + 1)
        end = min(len(text), at + draw.choice((0, 1, 1, 2, 5, 40)))
        if draw.random() < 0.3:  # a line doubled, lost or moved
            lines = text.split("\n")
            line = lines.pop(draw.randrange(len(lines)))
            for _ in range(draw.randrange(3)):
                lines.insert(draw.randrange(len(lines) + 1), line)
            text = "\n".join(lines)
        else:
            text = text[:at] + draw.choice(("", *TOKENS)) + text[end:]
    return text


def bent(text: str, draw: random.Random) -> str:
    """A YAML text of which one to three values are lost, moved, doubled or others."""
    data = yaml.safe_load(text)
    for _ in range(draw.randint(1, 3)):
        places = list(_places(data))
        if not places:
            break
        (holder, key), (other, its_key) = draw.choice(places), draw.choice(places)
        change = draw.choice(("lose", "copy", "copy", "double", "value", "value"))
        if change == "lose":
            del holder[key]
        elif change == "double" and isinstance(holder, list):
            holder.insert(draw.randrange(len(holder) + 1), holder[key])
        else:
            found = other[its_key] if change == "copy" else draw.choice(VALUES)
            holder[key] = copy.deepcopy(found)
    return yaml.safe_dump(data, sort_keys=False)


def _places(data: Any) -> Iterator[tuple[Any, Any]]:
    """All lists and mappings of a document, each with its every index or key."""
    if isinstance(data, list | dict):
        for key in range(len(data)) if isinstance(data, list) else [*data]:
            yield data, key
            yield from _places(data[key])


def alike(ours: Any, plain: Any) -> bool:
    """Whether a value of ours is what PyYAML says, or what YAML 1.2 says where they differ."""
    if isinstance(ours, dict) and isinstance(plain, dict):
        return [*ours] == [str(key) for key in plain] and all(
            alike(ours[str(key)], value) for key, value in plain.items()
        )
    if isinstance(ours, list) and isinstance(plain, list):
        return len(ours) == len(plain) and all(map(alike, ours, plain))
    if isinstance(plain, datetime.date):
        return isinstance(ours, str)
    if isinstance(ours, float) and isinstance(plain, str):
        return ours == float(plain)
    return type(ours) is type(plain) and bool(ours == plain)


class Fuzz:
    """One method per family; each says whether its input was taken."""

    def __init__(self, folder: Path) -> None:
        self.texts = {path: path.read_text(encoding="utf-8") for path in SHIPPED}
        self.records = SpoiledFiles(FIXTURES, folder)
        self.workspace = Workspace(folder / "workspace", "", "")
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        for run in ("whole", "spoiled"):
            storage = open_storage(self.workspace, run)
            study = optuna.create_study(study_name=f"{run}/all", storage=storage)
            study.optimize(lambda trial: trial.suggest_float("x", 0, 1), 4)
        self.journal = folder / "workspace" / "tuning" / "spoiled" / "study.journal"
        self.content = self.journal.read_bytes()
        self.live = folder / "live.jsonl"
        self.events = SpoiledJournal(folder / "events", spoiled).attempt
        self.stamps = SpoiledArtifact(folder / "stamps").attempt
        self.seals = SpoiledWork(folder / "seals").attempt
        self.retries, self.rules = attempt_retries, attempt_rules

    def yaml(self, draw: random.Random) -> bool:
        text = spoiled(self.texts[draw.choice(SHIPPED)], draw)
        document = load_document(text, "grid.yaml")
        plain = yaml.safe_load(text)
        if not alike(document.data, plain):
            raise Wrong(f"{document.data}\nis for PyYAML\n{plain}")
        return True

    def grids(self, draw: random.Random) -> bool:
        path = draw.choice(SHIPPED)
        # Shipped grids take a second: most inputs are of a small one with every section.
        text = self.texts[path] if draw.random() < 0.1 else small_grid(draw)
        text = draw.choice((spoiled, bent))(text, draw)  # the latter gets further
        document = load_document(text, str(path))
        cells = expand(document)
        again = load_document(yaml.safe_dump(document.data, sort_keys=False), str(path))
        if expand(again).digest != cells.digest:
            raise Wrong("the same data written by PyYAML gives other cells")
        return True

    def where(self, draw: random.Random) -> bool:
        text = " ".join(draw.choice(WORDS) for _ in range(draw.randint(1, 9)))
        if draw.random() < 0.5:
            pairs = [
                f"{draw.choice(WORDS[:7])} {draw.choice(WORDS[11:17])} {draw.choice(WORDS[22:32])}"
                for _ in range(draw.randint(1, 3))
            ]
            text = draw.choice((" and ", " or ", " and not ")).join(pairs)
        held = parse_where(text, NAMES).holds(NAMES.__getitem__)
        if held is not _pythons(text):
            raise Wrong(f"{text!r} is {held} for us, and not for Python")
        return True

    def settings(self, draw: random.Random) -> bool:
        text = "".join(draw.choice((*TOKENS, "a", "1", ".")) for _ in range(draw.randint(1, 6)))
        value = parse_value(f"[{text}]", "--set")
        plain = yaml.safe_load(f"[{text}]")
        if not alike(value, plain):
            raise Wrong(f"[{text}] is {value!r} for us, {plain!r} for PyYAML")
        return True

    def records_(self, draw: random.Random) -> bool:
        return self.records.attempt(draw.choice(sorted(PREDICTIONS)), draw) is None

    def studies(self, draw: random.Random) -> bool:
        content = bytearray(self.content)
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(content))
            content[at : at + draw.choice((0, 1, 1, 9))] = draw.randbytes(draw.randrange(3))
        self.journal.write_bytes(content)
        names, damages = find_studies(self.workspace)
        if "whole/all" not in names or not all(str(self.journal) in each for each in damages):
            raise Wrong(f"{names} {damages}")
        for name in names:
            load_study(self.workspace, name).get_trials()
        return not damages

    def tails(self, draw: random.Random) -> bool:
        lines = [json.dumps({"time": index, "done": index}).encode() for index in range(4)]
        content = bytearray(b"\n".join(lines) + b"\n")
        at = draw.randrange(len(content))
        content[at : at + draw.randrange(9)] = draw.randbytes(draw.randrange(4))
        self.live.write_bytes(content)
        whole = [json.loads(line) for line in lines if line in bytes(content).split(b"\n")]
        found = LiveTail(self.live).new_lines()
        if bytes(content).endswith(b"\n") and not all(line in found for line in whole):
            raise Wrong(f"{bytes(content)!r} lost lines: {found}")
        return True


def _pythons(text: str) -> bool:
    """What Python says of an expression, with true, false and null for its words."""
    root = SimpleNamespace(true=True, false=False, null=None)
    for name, value in NAMES.items():
        first, _, last = name.partition(".")
        if last:
            setattr(root, first, getattr(root, first, SimpleNamespace()))
            setattr(getattr(root, first), last, value)
        else:
            setattr(root, first, value)
    tree = _Strict().visit(ast.parse(text.strip(), mode="eval"))
    code = compile(ast.fix_missing_locations(tree), "where", "eval")
    return bool(eval(code, {"__builtins__": {}, "_Typed": _Typed, **vars(root)}))


class _Typed:
    """A value that is equal to its like only: true is not 1."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: Any) -> bool:
        one, two = self.value, other.value if isinstance(other, _Typed) else other
        return (isinstance(one, bool) == isinstance(two, bool)) and bool(one == two)

    __hash__ = None  # type: ignore[assignment]


class _Strict(ast.NodeTransformer):
    """Wraps the left sides of `==`, `!=` and `in`, so that true is not 1."""

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        kinds = (ast.Eq, ast.NotEq, ast.In, ast.NotIn)
        if len(node.ops) == 1 and isinstance(node.ops[0], kinds):
            node.left = ast.Call(ast.Name("_Typed", ast.Load()), [node.left], [])
        return node


def _no_meteor() -> None:
    """Its paraphrase table would take longer than all inputs."""
    raise DataError("left out")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0, help="of the first input")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    setattr(scoring, "installed_data", _no_meteor)  # noqa: B010
    counts = Counter[tuple[str, str]]()
    seconds: dict[str, float] = defaultdict(float)
    with tempfile.TemporaryDirectory() as folder:
        fuzz = Fuzz(Path(folder))
        families: dict[str, Callable[[random.Random], bool]] = {
            name: getattr(fuzz, f"{name}_" if name == "records" else name) for name in SHARES
        }
        for seed in range(args.seed, args.seed + args.inputs):
            draw = random.Random(seed)
            (name,) = draw.choices([*SHARES], [*SHARES.values()])
            began = time.process_time()
            try:
                counts[name, "taken" if families[name](draw) else "refused"] += 1
            except ThreedrsError as error:
                str(error).encode("utf-8")
                counts[name, "refused"] += 1
            except Exception as error:
                what = "wrong" if isinstance(error, Wrong) else "crashed"
                counts[name, what] += 1
                print(f"--seed {seed}: {name} {what}\n{traceback.format_exc(limit=-4)[:2000]}")
            seconds[name] += time.process_time() - began
    for name in SHARES:
        told = [f"{counts[name, what]} {what}" for what in ("taken", "refused", "wrong", "crashed")]
        print(f"{name:9} {', '.join(told)}; {seconds[name]:.0f} CPU-s")
    return 1 if any(counts[name, what] for name in SHARES for what in ("wrong", "crashed")) else 0


if __name__ == "__main__":
    sys.exit(main())
