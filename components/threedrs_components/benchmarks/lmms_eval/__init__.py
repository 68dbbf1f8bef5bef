"""Benchmarks as tasks of lmms-eval: what the exported folder holds, and the code that it runs."""
