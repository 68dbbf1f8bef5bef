"""How many pixels are told of a cell, and what that is called. Imports no torch."""

SIDE = 8
"""Pixel rows and columns that are told of each cell; frames are shrunk to so many per cell."""
VALUES = 3 * SIDE * SIDE
BIRDS_EYE = "reconstruction/birds_eye"
"""The curve of the loss of the bird's-eye view."""
