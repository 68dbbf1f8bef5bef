"""The report of a run in the database."""
