"""Page load times at 1,000 cells and 1,000,000 sample scores.

python tests/bench/dashboard_pages.py [--cells N] [--samples N] [--keep FOLDER]

Fills a store (SQLite, or the database of --db, which should be empty) and asks for every page three
times through the application itself; prints the first and the best time, and the page's size.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from threedrs_dashboards.app import create_app
from threedrs_platform.database import schema
from threedrs_platform.database.connection import Database, open_database
from threedrs_platform.database.score_sums import write_sums
from threedrs_platform.database.urls import sqlite_url
from threedrs_platform.workspace import find_workspace

SEEDS = 4
ROLES = (
    "scenes",
    "prepare",
    "pretrain",
    "teacher",
    "extract",
    "finetune",
    "probe",
    "predict",
    "score",
)
SHARED = ROLES[:5]
TYPES = ("", "/unique", "/multiple", "/position", "/attribute")
METRICS = tuple(
    f"{benchmark}{kind}"
    for benchmark in (
        "scanrefer/acc@0.25",
        "scanrefer/acc@0.5",
        "multi3drefer/f1@0.25",
        "scanqa/em@1",
    )
    for kind in TYPES
)
SCORED = ("scanrefer/acc@0.25", "probe/score")
CURVES, CURVE_STEPS = ("loss", "loss/alignment"), 100
GRID = (
    "version: 1\nname: bench\nreport:\n  metrics: [scanrefer/acc@0.25, scanqa/em@1, probe/score]\n"
)
Row = dict[str, Any]


def fill(database: Database, cells: int, samples: int) -> None:
    """One run: cells (each seed counts), their steps and numbers, so many sample scores in all."""
    generator, known = random.Random(0), set[str]()
    run = {
        "id": "bench-1", "name": "bench", "state": "succeeded", "grid_file": "bench.yaml",
        "grid_yaml": GRID, "spec_digest": "0", "options_json": "{}", "created_at": 1e9,
        "finished_at": 1e9 + 3600, "cancel_requested": False, "last_seq": 0,
    }  # fmt: skip
    per_metric = samples // cells // len(SCORED)
    with database.write() as connection:
        connection.execute(schema.runs.insert(), run)
        for number in range(cells):
            of_cell = _cell(number, per_metric, generator, known)
            for table, rows in of_cell.items():
                if rows:
                    connection.execute(schema.metadata.tables[table].insert(), rows)
            for key in {row["step_key"] for row in of_cell["sample_scores"]}:
                write_sums(connection, key)


def _cell(
    number: int, per_metric: int, generator: random.Random, known: set[str]
) -> dict[str, list[Row]]:
    index, seed = divmod(number, SEEDS)
    cell_id = f"cell{index:05d}"
    teacher, weight, layer = ("none", "mae", "vggt")[index % 3], index // 3 % 10, index // 30
    params = {
        "student": "llava",
        "students": {"llava": {"kind": "llava_video", "size": "micro", "micro": {"layers": 3}}},
        "teacher": teacher,
        "alignment": {"weight": float(weight), "layers": [layer]},
        "filling": {f"setting{k}": k for k in range(80)},
    }
    of_cell = {"run_id": "bench-1", "cell_id": cell_id, "seed": seed}
    keys = {role: f"{role}-{teacher if role in SHARED else f'{cell_id}-{seed}'}" for role in ROLES}
    fresh = [role for role in ROLES if keys[role] not in known]
    known.update(keys.values())
    rows: dict[str, list[Row]] = {
        "cells": [
            {**of_cell, "position": number, "name": f"teacher={teacher},alignment.weight={weight}",
             "label": f"{teacher} w{weight} l{layer}", "params_json": json.dumps(params),
             "state": "succeeded", "cancel_requested": False}
        ],
        "cell_steps": [{**of_cell, "role": role, "step_key": keys[role]} for role in ROLES],
        "steps": [_step(keys[role], role) for role in fresh],
        "attempts": [_attempt(keys[role]) for role in fresh],
        "step_inputs": list(_inputs(keys, fresh)),
        "metrics": [
            {"step_key": keys["score"], "name": name, "value": generator.gauss(50 + weight, 2),
             "n": 1000, "unit": "%", "chance": 14.0, "ci_low": 48.0, "ci_high": 52.0}
            for name in METRICS
        ],
    }  # fmt: skip
    rows["metrics"].append(
        {"step_key": keys["probe"], "name": "probe/score", "value": generator.random(), "n": 120,
         "unit": "cosine", "chance": None, "ci_low": None, "ci_high": None}
    )  # fmt: skip
    rows["sample_scores"] = [
        {"step_key": keys["score" if "/acc" in metric else "probe"], "metric": metric,
         "sample_id": f"q{k}", "scene_id": f"scene{k % 120:04d}", "value": generator.random() * 100}
        for metric in SCORED
        for k in range(per_metric)
    ]  # fmt: skip
    rows["curves"] = [
        {"step_key": keys["finetune"], "step": step, "name": name, "value": 10.0 / (step + 1)}
        for name in CURVES
        for step in range(CURVE_STEPS)
    ]
    return rows


def _step(key: str, role: str) -> Row:
    recipe = {"code": "0" * 64, "params": {f"p{k}": k for k in range(40)}}
    return {
        "key": key, "kind": role, "label": "", "state": "succeeded", "reason": "new",
        "recipe_json": json.dumps(recipe), "spec_json": json.dumps(recipe), "output_digest": key,
        "output_bytes": 10**6, "seconds": 60.0, "epoch": 1, "canonical_attempt": 1,
        "created_at": 1e9, "updated_at": 1e9,
    }  # fmt: skip


def _attempt(key: str) -> Row:
    return {
        "step_key": key, "n": 1, "run_id": "bench-1", "owner": "nobody", "state": "committed",
        "started_at": 1e9, "ended_at": 1e9 + 60, "seconds": 60.0, "cpu_s": 55.0, "gpu_s": 0.0,
        "max_rss": 10**9,
    }  # fmt: skip


def _inputs(keys: dict[str, str], fresh: list[str]) -> Iterator[Row]:
    for role in fresh:
        place = ROLES.index(role)
        if place:
            before = ROLES[place - 1]
            yield {"step_key": keys[role], "name": before, "input_key": keys[before]}


PAGES = (
    "/runs",
    "/runs?run=bench-1",
    "/runs?run=bench-1&page=20",
    "/runs?run=bench-1&csv=matrix",
    "/reading?run=bench-1",
    "/table?run=bench-1",
    "/table?run=bench-1&page=3&sort=probe/score (cosine)",
    "/table?run=bench-1&by=teacher&across=alignment.weight",
    "/table?run=bench-1&csv=table",
    "/cell?run=bench-1&cell=cell00120&seed=2",
    "/correspondence?run=bench-1",
    "/tuning",
)


def main() -> None:
    """Fill, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cells", type=int, default=1000, help="cells times seeds")
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--db", help="an empty database; default: SQLite in a temporary folder")
    parser.add_argument("--keep", type=Path, help="a folder; a filled one is used as it is")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.keep or Path(temporary)
        is_new = args.db is not None or not (folder / "results.db").exists()
        database = open_database(args.db or sqlite_url(folder / "results.db"))
        if is_new:
            begin = time.perf_counter()
            fill(database, args.cells, args.samples)
            print(f"filled in {time.perf_counter() - begin:.0f} s")
        database.close()
        app = create_app(find_workspace(str(folder), args.db, environment={}))
        client = TestClient(app, "http://127.0.0.1")
        print(f"{'page':62} {'first':>8} {'best of 3':>10} {'size':>10}")
        for page in PAGES:
            _time(client, page)
        app.state.store.close()


def _time(client: TestClient, page: str) -> None:
    times, size = [], 0
    for _ in range(4):
        begin = time.perf_counter()
        answer = client.get(page)
        times.append(time.perf_counter() - begin)
        size = len(answer.content)
    note = "" if answer.status_code == 200 else f" (status {answer.status_code})"
    print(f"{page:62} {times[0]:7.2f}s {min(times[1:]):9.3f}s {size / 1000:8.0f}kB{note}")


if __name__ == "__main__":
    main()
