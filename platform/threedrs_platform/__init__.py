"""The machine: config, identity, artifacts, journal, results, compute. Knows no model or dataset."""
