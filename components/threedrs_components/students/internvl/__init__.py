"""InternVL3 and InternVL3.5: InternViT, pixel shuffle, and Qwen2.5 or Qwen3."""
