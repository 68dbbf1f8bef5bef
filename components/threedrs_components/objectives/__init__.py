"""Losses: pure functions of tensors, and their weights as configuration."""
