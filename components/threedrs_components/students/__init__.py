"""Multimodal LLMs that show their states at visual tokens: a file per kind."""
