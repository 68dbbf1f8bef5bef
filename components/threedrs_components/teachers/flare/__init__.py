"""FLARE."""
