"""ScanRefer: find the one object a sentence describes."""
