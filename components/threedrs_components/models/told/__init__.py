"""What steps of a cell are told and readers of its student need, too: typed, and said once.

Parameters of the steps inherit from these. One file per kind of step, because a step's key hashes
what the step imports.
"""
