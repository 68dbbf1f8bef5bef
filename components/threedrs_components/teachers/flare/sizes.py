"""What all released FLAREs have in common. No torch: grid files are checked by it."""

from __future__ import annotations

ENCODER_DEPTH, DECODER_DEPTH = 24, 12
PATCH, ROWS, COLUMNS = 16, 24, 32
"""Of a frame of 512 x 384."""
