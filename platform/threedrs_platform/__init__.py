"""The machine: config, identity, artifacts, journal, compute. Knows no model or data set."""
