"""What MLflow is told of a run, and the process that tells it."""
