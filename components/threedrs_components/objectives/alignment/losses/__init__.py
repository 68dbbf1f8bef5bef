"""Distances of student from teacher features, one per module: `distance(student, teacher)`.

A module's name is what grid files call its distance; that it lies in this folder makes it known.
"""
