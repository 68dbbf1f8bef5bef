"""Pretrained models that turn frames into dense features: a file or folder per kind."""
