"""Qwen2-VL: a tower for any frame size, positions with three axes."""
