"""The training loop, shared-prefix batches, parameter groups and checkpoints."""
