"""Benchmarks: annotations in, samples out; predictions in, metrics out. A file per kind."""
