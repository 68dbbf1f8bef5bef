"""Qwen2.5-VL: Qwen2-VL with windows of attention in its tower."""
