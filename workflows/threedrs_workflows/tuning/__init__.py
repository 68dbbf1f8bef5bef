"""Tuning: trials are ordinary cells, judged on scenes that are held out of training."""
