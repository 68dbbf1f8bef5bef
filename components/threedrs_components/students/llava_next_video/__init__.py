"""LLaVA-NeXT-Video: CLIP and Vicuna."""
