"""What durability costs: a DAG of steps that do nothing, on the engine and as bare Ray tasks.

    python tests/bench/engine_overhead.py [--steps 100] [--chains 10] [--rounds 3]
        [--ray local|none] [--json]

As many chains as steps: all are ready at once.

Engine and bare tasks run alternately in one process on one Ray, so that load on the machine hits
both; read the ratios, not the seconds. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from threedrs_platform.compute.in_process import Compute, InProcessCompute
from threedrs_platform.compute.open import open_compute
from threedrs_platform.compute.ray_tasks import RayCompute
from threedrs_platform.database.runs import Submission
from threedrs_platform.states import RunState
from threedrs_platform.steps import Resources
from threedrs_platform.testing.fake_cells import chains
from threedrs_platform.workspace import find_workspace
from threedrs_workflows.engine.supervisor import Supervisor
from threedrs_workflows.plan.submission import plan_cells, record

CHAINS = 10


def timed(work: Callable[[], Any]) -> float:
    """Wall time of a call in milliseconds."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def bare_ray(chains: int, length: int) -> None:
    """The same chains as plain Ray tasks: no journal, no store, no log."""
    import ray

    @ray.remote(max_retries=0)
    def link(before: object) -> int:
        return 1

    ends = []
    for _ in range(chains):
        reference: Any = None
        for _ in range(length):
            reference = link.remote(reference)
        ends.append(reference)
    ray.get(ends)


class Bench:
    """One workspace that several rounds share."""

    def __init__(self, root: Path, compute: Compute, chains: int, length: int) -> None:
        self.workspace = find_workspace(str(root), environment={})
        self.compute, self.chains, self.length = compute, chains, length

    def submit(self, number: int) -> None:
        """Plan and run one round's DAG; a number seen before is fully cached."""
        cells = chains(self.chains, self.length, round=number)
        plan = plan_cells(self.workspace, cells)
        run_id = record(self.workspace, Submission("bench", "", "", {}), plan)
        state = Supervisor(self.workspace, self.compute).run(run_id, plan)
        assert state is RunState.SUCCEEDED, state


def measure(ray: str, steps: int, width: int, rounds: int) -> dict[str, Any]:
    """Milliseconds per step: engine, bare, and cached."""
    length = max(1, steps // width)
    count = length * width
    compute = InProcessCompute(2) if ray == "none" else open_compute(ray, jobs=2)
    engine, bare, cached, used = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder), compute, width, length)
        if isinstance(compute, RayCompute):
            compute.refusal(Resources())
            bare_ray(width, length)
        bench.submit(-1)
        for number in range(rounds):
            began = time.process_time()
            engine.append(timed(lambda n=number: bench.submit(n)) / count)  # type: ignore[misc]
            used.append((time.process_time() - began) * 1e3 / count)
            if isinstance(compute, RayCompute):
                bare.append(timed(lambda: bare_ray(width, length)) / count)
            cached.append(timed(lambda n=number: bench.submit(n)) / count)  # type: ignore[misc]
        compute.close()
        bench.workspace.close()
    result: dict[str, Any] = {"ray": ray, "steps": count, "rounds": rounds}
    result["engine_ms_per_step"] = statistics.median(engine)
    result["cpu_ms_per_step"] = statistics.median(used)
    result["load"] = os.getloadavg()[0]
    result["cached_ms_per_step"] = statistics.median(cached)
    if bare:
        result["bare_ray_ms_per_step"] = statistics.median(bare)
        ratios = [mine / theirs for mine, theirs in zip(engine, bare, strict=True)]
        result["engine_over_bare_ray"] = statistics.median(ratios)
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--chains", type=int, default=CHAINS)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ray", choices=["local", "none"], default="local")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    result = measure(args.ray, args.steps, args.chains, args.rounds)
    if args.json:
        print(json.dumps({"schema": "bench.engine_overhead/1", **result}))
        return
    print(f"{result['steps']} steps, median of {result['rounds']} rounds, ray {result['ray']}")
    print(f"  engine   {result['engine_ms_per_step']:.2f} ms per step")
    print(f"  of which {result['cpu_ms_per_step']:.2f} ms CPU of this process")
    if "bare_ray_ms_per_step" in result:
        print(f"  bare Ray {result['bare_ray_ms_per_step']:.2f} ms per step")
        print(f"  ratio    {result['engine_over_bare_ray']:.2f} (aim: at most 2)")
    print(f"  cached   {result['cached_ms_per_step']:.3f} ms per step (aim: at most 0.2)")
    print(f"  load     {result['load']:.1f}")


if __name__ == "__main__":
    main()
