"""Scan2Cap: describe an object of a scene."""
