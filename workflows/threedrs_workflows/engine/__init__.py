"""Runs a plan: what is next, attempts, retries, heartbeat, display."""
