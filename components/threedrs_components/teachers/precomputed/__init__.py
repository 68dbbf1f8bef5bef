"""Features that were made elsewhere."""
