"""Leads from a run or a cell to its page in MLflow, which is asked for it when it is wanted."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import Request as Call
from urllib.request import urlopen

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from threedrs_dashboards import query
from threedrs_dashboards.store import store_of
from threedrs_platform.errors import ConfigError, Fault, StorageError
from threedrs_platform.tracking.names import CELL, RUN, SEED

PATH = "/runs/mlflow"
AS_RUNS = "?workflowType=machine_learning"
"""MLflow's pages open for language model traces, unless their address says that runs are meant."""
PATIENCE_S = 10.0
WHOLE_RUN = "-"
"""What the parent run of a submission is tagged with instead of a cell."""


def lead(request: Request) -> Response:
    """Send the browser to the page of `?run=`, or of its `?cell=` under its `?seed=`.

    Raises:
        ConfigError: this server does not know where MLflow is, or MLflow does not know the run.
        StorageError: MLflow does not answer.
    """
    address = request.app.state.mlflow
    if not address:
        raise ConfigError(
            [Fault("no MLflow is served with these pages; `workflows ui` starts both")]
        )
    run = store_of(request).run(query.text(request, "run"))
    tags = {RUN: run.run_id, CELL: query.text(request, "cell", WHOLE_RUN)}
    if query.text(request, "seed"):
        tags[SEED] = str(query.number(request, "seed", 0, low=-(10**9)))
    wanted = _filter(tags)
    experiment = _ask(address, f"experiments/get-by-name?experiment_name={quote(run.name)}")
    number = experiment.get("experiment", {}).get("experiment_id")
    search = {"experiment_ids": [number], "filter": wanted, "max_results": 1}
    found = number and _ask(address, "runs/search", search).get("runs")
    if not found:
        raise ConfigError([Fault(f"MLflow has nothing of this part of run {run.run_id} yet")])
    page = f"experiments/{number}/runs/{found[0]['info']['run_id']}"
    return RedirectResponse(f"{address}/#/{page}{AS_RUNS}")


def _filter(tags: dict[str, str]) -> str:
    """Ids of cells come from a URL: a quote in one must not end the value that it stands in."""
    if any("'" in value for value in tags.values()):
        raise ConfigError([Fault("no cell is called so", path="cell")])
    return " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())


def _ask(address: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = None if body is None else json.dumps(body).encode()
    call = Call(f"{address}/api/2.0/mlflow/{path}", data, {"Content-Type": "application/json"})
    try:
        with urlopen(call, timeout=PATIENCE_S) as answer:
            said: dict[str, Any] = json.load(answer)
    except URLError as error:
        if getattr(error, "code", None) == 404:  # no experiment of this name yet
            return {}
        raise StorageError(f"MLflow at {address} does not answer: {error.reason}") from None
    return said
