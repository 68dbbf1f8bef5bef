"""Trained students outside a grid: found by cell or folder, evaluated and exported as there."""
