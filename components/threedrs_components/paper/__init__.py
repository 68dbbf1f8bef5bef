"""What the paper reports: its tables as data, with the misprints repaired and marked."""
