"""Tiny checkpoints and synthetic scenes, shipped for tests and trials."""
