"""Qwen3-VL: Qwen2-VL's layout, with maps of its tower added inside the language model."""
