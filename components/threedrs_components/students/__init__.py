"""Multimodal LLMs that show their states at visual tokens: a file or a folder per kind."""
