"""Files added later to a run that MLflow knows already."""

from __future__ import annotations

from pathlib import Path

from threedrs_platform.database.measurements import RunSummary
from threedrs_platform.tracking.delivery import Target
from threedrs_platform.tracking.names import CELL, RUN


def attach_folder(target: Target, run: RunSummary, folder: Path, name: str) -> str:
    """Log a folder's files with a submission's parent run, in place of those of the same name.

    Args:
        target: where MLflow keeps its runs.
        run: the submission.
        folder: whose files.
        name: what the folder is called there.

    Returns: why nothing was logged; empty when all was.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        client = MlflowClient(target.uri)
        experiment = client.get_experiment_by_name(run.name)
        wanted = f"tags.`{RUN}` = '{run.run_id}' and tags.`{CELL}` = '-'"
        ids = [] if experiment is None else [experiment.experiment_id]
        found = client.search_runs(ids, wanted, max_results=1) if ids else []
        if not found:
            return f"MLflow does not know run {run.run_id} yet"
        client.log_artifacts(found[0].info.run_id, str(folder), name)
    except MlflowException as error:
        return f"MLflow: {str(error).splitlines()[0]}"
    return ""
