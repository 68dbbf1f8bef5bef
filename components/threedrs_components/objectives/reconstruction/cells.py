"""How many pixels are told of a cell. Imports no torch."""

SIDE = 8
"""Pixel rows and columns that are told of each cell; frames are shrunk to so many per cell."""
VALUES = 3 * SIDE * SIDE
