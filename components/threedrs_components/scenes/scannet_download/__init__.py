"""ScanNet v2 as it is downloaded, and its conversion into what grids read."""
