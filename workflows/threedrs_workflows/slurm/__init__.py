"""Slurm: job arrays whose tasks are plain workers, their scripts, and their place in the queue."""
