"""What a step that does nothing costs on engines that keep account of what they did.

    python tests/bench/engines.py [--steps 200] [--rounds 3] [--rivals PYTHON] [--only NAME ...]

Ours without Ray and on a local Ray, redun, Snakemake and Dagster, one after the other in every
round, each in a process of its own, with two workers, and with SQLite where it keeps a database.
Graphs are ten chains, and a fan of as many steps behind a first one. A run of few steps is
subtracted, so that starting up does not count; "again" is the run of the chains once more. Read
ratios, not milliseconds. Nothing is asserted.

The others are no dependencies, as their libraries do not go together with ours:

    python3 -m venv rivals
    rivals/bin/pip install redun==0.44.1 snakemake==9.27.1 dagster==1.13.27
    python tests/bench/engines.py --rivals rivals/bin/python

Without --rivals those are measured that this Python can import.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

CHAINS, WORKERS, FEW = 10, 2, 10
SHAPES = ("chains", "fan")
INSTALL = "redun==0.44.1 snakemake==9.27.1 dagster==1.13.27"
Shape = list[tuple[str, str | None]]
"""Steps in an order in which each comes after the one that it needs."""


class Times(NamedTuple):
    """Seconds of one run, and of the same once more."""

    first: float
    cpu: float
    """Of this process and those that it has waited for: a local Ray's own are not among them."""
    again: float


def shape(name: str, steps: int) -> Shape:
    """Steps of a graph, each with the one before it."""
    if name == "fan":
        return [("s0", None), *((f"s{number}", "s0") for number in range(1, steps))]
    return [
        (f"c{chain}x{depth}", f"c{chain}x{depth - 1}" if depth else None)
        for depth in range(max(1, steps // CHAINS))
        for chain in range(CHAINS)
    ]


def timed(work: Callable[[], Any]) -> Times:
    """A call, twice."""
    began, before = time.perf_counter(), sum(os.times()[:4])
    work()
    ended, after = time.perf_counter(), sum(os.times()[:4])
    work()
    return Times(ended - began, after - before, time.perf_counter() - ended)


def ours(folder: Path, steps: Shape, tag: str, ray: str) -> Times:
    """A plan, its record in the journal, and a supervisor, as `workflows submit` makes them."""
    from threedrs_platform.compute.in_process import InProcessCompute
    from threedrs_platform.compute.open import open_compute
    from threedrs_platform.database.runs import Submission
    from threedrs_platform.states import RunState
    from threedrs_platform.steps import StepSpec
    from threedrs_platform.testing.fake_cells import fake_cell, fake_step
    from threedrs_platform.workspace import find_workspace
    from threedrs_workflows.engine.supervisor import Supervisor
    from threedrs_workflows.plan.submission import plan_cells, record

    specs: dict[str, StepSpec] = {}
    for name, before in steps:
        inputs: dict[str, Any] = {"previous": specs[before]} if before else {}
        specs[name] = fake_step("noop", {"id": name, "tag": tag}, kind="link", **inputs)
    cell = fake_cell(f"cell-{tag}", specs)
    if ray not in _opened:
        _opened[ray] = (
            InProcessCompute(WORKERS) if ray == "none" else open_compute(ray, jobs=WORKERS)
        )
    with find_workspace(str(folder), environment={}) as workspace:

        def submit() -> None:
            plan = plan_cells(workspace, [cell])
            run_id = record(workspace, Submission("bench", "", "", {}), plan)
            state = Supervisor(workspace, _opened[ray]).run(run_id, plan)
            assert state is RunState.SUCCEEDED, state

        return timed(submit)


_opened: dict[str, Any] = {}


def redun(folder: Path, steps: Shape, tag: str) -> Times:
    """Lazy calls of one task, recorded in SQLite."""
    import logging

    from redun import Scheduler, task
    from redun.config import Config

    logging.getLogger("redun").setLevel(logging.ERROR)

    @task(namespace="bench", name="link", version="1")
    def link(name: str, before: object) -> str:
        return name

    ends: dict[str, Any] = {}
    last = set()
    for name, before in steps:
        ends[name] = link(f"{tag}/{name}", ends[before] if before else None)
        last.add(name)
        last.discard(before or "")
    config = Config(
        {
            "backend": {"db_uri": f"sqlite:///{folder}/redun.db"},
            "executors.default": {"type": "local", "max_workers": str(WORKERS)},
        }
    )

    def run() -> None:
        scheduler = Scheduler(config=config)
        scheduler.load()
        assert len(scheduler.run([ends[name] for name in sorted(last)])) == len(last)

    return timed(run)


SNAKEFILE = """
import json
before = json.load(open("before.json"))
rule all:
    input: expand("{{name}}.txt", name=sorted(before))
rule link:
    input: lambda wildcards: [before[wildcards.name] + ".txt"] if before[wildcards.name] else []
    output: "{{name}}.txt"
    params: tag="{tag}"
    shell: ": > {{output}}"
"""


def snakemake(folder: Path, steps: Shape, tag: str) -> Times:
    """A rule whose command makes an empty file; the command line, as there is no other way in."""
    own = folder / f"{tag}-{len(steps)}"
    own.mkdir()
    (own / "before.json").write_text(json.dumps(dict(steps)))
    (own / "Snakefile").write_text(SNAKEFILE.format(tag=tag))
    command = [sys.executable, "-m", "snakemake", "--cores", str(WORKERS), "--scheduler", "greedy"]

    def run() -> None:
        done = subprocess.run([*command, "-q", "all"], cwd=own, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()[-2000:]

    return timed(run)


def dagster(folder: Path, steps: Shape, tag: str) -> Times:
    """Ops of one job in this process, with events in SQLite and outputs in files."""
    import logging

    import dagster as dg

    logging.disable(logging.CRITICAL)

    @dg.op(name="first")
    def first() -> int:
        return 1

    @dg.op(name="link")
    def link(before: int) -> int:
        return before

    graph = dg.GraphDefinition(
        name="bench",
        node_defs=[first, link] if any(before for _, before in steps) else [first],
        dependencies={
            dg.NodeInvocation("link" if before else "first", alias=name): (
                {"before": dg.DependencyDefinition(before)} if before else {}
            )
            for name, before in steps
        },
    )
    (folder / "home").mkdir(exist_ok=True)
    job = graph.to_job(
        resource_defs={"io_manager": dg.FilesystemIOManager(base_dir=str(folder / "values"))}
    )
    with dg.DagsterInstance.local_temp(str(folder / "home")) as instance:

        def run() -> None:
            assert job.execute_in_process(instance=instance).success

        return timed(run)


ENGINES: dict[str, Callable[[Path, Shape, str], Times]] = {
    "threedrs --ray none": lambda folder, steps, tag: ours(folder, steps, tag, "none"),
    "threedrs --ray local": lambda folder, steps, tag: ours(folder, steps, tag, "local"),
    "redun": redun,
    "snakemake": snakemake,
    "dagster": dagster,
}
RIVALS = ("redun", "snakemake", "dagster")


def child(name: str, steps: int) -> dict[str, Any]:
    """Both shapes on one engine, in this process: milliseconds per step, start-up subtracted."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as passing:
        for of in SHAPES:
            folder = Path(passing) / of
            folder.mkdir()
            ENGINES[name](folder, shape(of, FEW), "warm")
            few = ENGINES[name](folder, shape(of, FEW), "few")
            many = ENGINES[name](folder, shape(of, FEW + steps), "many")
            found[of] = [1e3 * (more - less) / steps for more, less in zip(many, few, strict=True)]
            found["start"] = few.first
    for compute in _opened.values():
        compute.close()
    found["version"] = importlib.metadata.version(name) if name in RIVALS else ""
    return found


def is_missing(python: str, name: str) -> bool:
    """Whether an engine is not installed."""
    looks = f"import importlib.util as i, sys; sys.exit(i.find_spec({name!r}) is None)"
    done = subprocess.run([python, "-P", "-c", looks], check=False)
    return name in RIVALS and bool(done.returncode)


def ask(python: str, name: str, steps: int) -> dict[str, Any] | None:
    """What an engine's own process says; None where it failed, which one round may."""
    command = [python, "-P", __file__, "--child", name, "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(f"{name} failed in one round:\n{done.stderr[-3000:]}", file=sys.stderr, flush=True)
        return None
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main() -> None:
    """Parent: every engine in every round. Child (--child): one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rivals", default=sys.executable, help="a Python that has the others")
    parser.add_argument("--only", nargs="+", choices=[*ENGINES], help="these; default: all")
    parser.add_argument("--child", choices=[*ENGINES], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(child(options.child, options.steps)))
        return
    asked = options.only or [*ENGINES]
    missing = [name for name in asked if is_missing(options.rivals, name)]
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in asked if name not in missing}
    loads = []
    for _ in range(options.rounds):
        for name in found:
            loads.append(os.getloadavg()[0])
            python = options.rivals if name in RIVALS else sys.executable
            if (answer := ask(python, name, options.steps)) is not None:
                found[name].append(answer)
    print(
        f"{options.steps} steps, median of {options.rounds} rounds, {os.cpu_count()} CPUs, load "
        f"{min(loads):.1f} to {max(loads):.1f}; ms per step"
    )
    titles = ("chains", "CPU", "fan", "CPU", "again", "start s")
    print(f"{'':28}" + "".join(f"{each:>9}" for each in titles))
    for name, answers in found.items():
        if answers:
            _show(name, answers)
        else:
            print(f"{name:28} failed in every round")
    if missing:
        print(f"not installed: {', '.join(missing)}; in a venv of their own: pip install {INSTALL}")
        print("then --rivals VENV/bin/python")


def _show(name: str, answers: list[dict[str, Any]]) -> None:
    columns = (
        [each["chains"][0] for each in answers],
        [each["chains"][1] for each in answers],
        [each["fan"][0] for each in answers],
        [each["fan"][1] for each in answers],
        [each["chains"][2] for each in answers],
        [each["start"] for each in answers],
    )
    title = f"{name} {answers[0]['version']}".strip()
    print(f"{title:28}" + "".join(f"{statistics.median(each):9.2f}" for each in columns))


if __name__ == "__main__":
    main()
