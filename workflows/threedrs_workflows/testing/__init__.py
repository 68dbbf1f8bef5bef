"""Fakes for tests of what people run."""
