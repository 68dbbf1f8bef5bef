"""VSI-Bench: spatial questions about a video."""
