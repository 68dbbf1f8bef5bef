"""Migrations of the database, applied when it is opened by a newer version."""
