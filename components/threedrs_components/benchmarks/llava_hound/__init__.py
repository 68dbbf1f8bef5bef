"""LLaVA-Hound: questions about videos of the web, which keep a student general."""
