"""Reconstruction of frames that the student does not see, from its hidden states."""
