"""Depth Anything 3: a DINOv2 whose later blocks look at all frames of a scene."""
