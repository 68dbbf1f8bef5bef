"""What the platform reads that others made: where it comes from, and whether it is here."""
