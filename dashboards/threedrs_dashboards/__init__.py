"""Read-only pages over the results store and the artifacts."""
