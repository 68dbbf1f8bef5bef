"""MLflow's system metrics of a submission: CPU, memory, disk, network and GPU while it runs."""

from __future__ import annotations

import os
from typing import Any

from threedrs_platform.database.results import Results
from threedrs_platform.errors import ConfigError
from threedrs_platform.states import RunState
from threedrs_platform.tracking.names import find_parent
from threedrs_platform.tracking.places import Target

SWITCH = "MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING"
"""MLflow's own switch: system metrics are on unless it says false."""

INTERVAL_S = 5
"""Between samples, unless MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL says otherwise."""


class MachineWatch:
    """Samples this machine into the parent run of a submission, from a thread of its own."""

    def __init__(self, target: Target, results: Results, run_id: str) -> None:
        self._target, self._results, self._run_id = target, results, run_id
        self._monitor: Any = None
        self._is_off = os.environ.get(SWITCH, "").lower() in ("0", "false", "no")

    def start(self) -> None:
        """Begin once the submission runs and MLflow knows it; without effect while it goes on."""
        if self._is_off or self._monitor is not None:
            return
        parent = self._parent()
        if parent is None:
            return
        from mlflow.system_metrics import system_metrics_monitor

        made: Any = system_metrics_monitor.SystemMetricsMonitor
        self._monitor = made(
            parent,
            sampling_interval=INTERVAL_S,
            resume_logging=True,
            tracking_uri=self._target.uri,
        )
        self._monitor.start()

    def stop(self) -> None:
        """End, writing what was sampled."""
        if self._monitor is not None:
            self._monitor.finish()

    def _parent(self) -> str | None:
        """The parent run, set to running again if the submission was taken up anew."""
        from mlflow.tracking import MlflowClient

        try:
            run = self._results.find_run(self._run_id)
        except ConfigError:
            return None
        if run.state is not RunState.RUNNING:
            return None
        client = MlflowClient(self._target.uri)
        found = find_parent(client, run)
        if found is None:
            return None
        if found.info.status != "RUNNING":
            client.update_run(found.info.run_id, status="RUNNING")
        return str(found.info.run_id)
