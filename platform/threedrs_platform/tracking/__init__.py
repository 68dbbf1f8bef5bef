"""MLflow, written from the outbox after the commit."""
