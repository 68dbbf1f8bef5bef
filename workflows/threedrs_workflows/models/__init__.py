"""Trained students outside a grid: found by cell or folder, asked and evaluated as a grid does."""
