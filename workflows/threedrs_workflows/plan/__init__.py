"""From cells to steps: keys, hits and misses, reasons."""
